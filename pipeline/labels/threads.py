"""Threads within one scene: GDAL, numpy and GEOS work without Python's lock; no result depends on their number."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline.cores import available_cores
from pipeline.types import AnyArray

#: Fewer pairs are not worth a thread.
_PART = 32


def thread_count() -> int:
    """What NUMBA_NUM_THREADS says (as pipeline.fanout sets it for its workers), else one a core."""
    given = os.environ.get("NUMBA_NUM_THREADS", "")
    if given.isdigit() and int(given):
        return int(given)
    return available_cores()


def in_threads(operation: Callable[[AnyArray, AnyArray], AnyArray], a: AnyArray, b: AnyArray) -> AnyArray:
    """An overlay of pairs of geometries, shared among threads; every pair is computed by itself."""
    threads = thread_count()
    parts = min(8 * threads, len(a) // _PART)
    if threads == 1 or parts < 2:
        return operation(a, b)
    with ThreadPoolExecutor(threads) as pool:
        done = pool.map(operation, np.array_split(a, parts), np.array_split(b, parts))
        return np.concatenate(list(done))
