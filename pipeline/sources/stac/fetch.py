"""Read the planned windows of remote assets, keeping what was read so that an interrupted run goes on from there."""

import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from pipeline.digests import canonical_sha256, file_sha256
from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.remote import RemoteError, RemoteInfo, open_remote
from pipeline.params.acquire_remote import StacParams
from pipeline.paths import staged_file, write_json
from pipeline.sources.downloads import read_json, repeat
from pipeline.sources.stac.hrefs import signer, unsigned, without_signature
from pipeline.sources.stac.plan import Read
from pipeline.types import Window

_ROWS = 512

#: Statuses that will not pass: what is asked for is not there, or not for us.
_FINAL = (400, 401, 403, 404, 405, 410, 416)

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class CutOut:
    """An asset's own pixels within the area, as a local file with the asset's type and nodata."""

    read: Read
    path: Path
    sha256: str
    info: RemoteInfo


class Fetcher:
    """Reads headers and windows, several at once, under one progress bar (bytes of pixels)."""

    def __init__(self, folder: Path, params: StacParams) -> None:
        self._folder, self._params = folder, params
        self._sign = signer(params.sign)
        self._bar = tqdm(desc="headers", unit="B", unit_scale=True, unit_divisor=1024, total=0, disable=None)
        self._lock, self._stop = threading.Lock(), threading.Event()

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def headers(self, reads: Sequence[Read]) -> list[RemoteInfo]:
        """The header of each read, in order.

        Raises:
            SceneError: an asset cannot be opened, or has not the band.
        """
        first: dict[str, Read] = {}
        for read in reads:
            first.setdefault(unsigned(read.href), read)
        found = dict(zip(first, self._at_once(self._header, list(first.values())), strict=True))
        for read in reads:
            if read.index > (count := found[unsigned(read.href)].count):
                raise SceneError(f"{read.subject} must have band {read.index}, as acquire.stac.bands asks for: "
                                 f"it has {count}")
        return [found[unsigned(read.href)] for read in reads]

    def cut_outs(self, jobs: Sequence[tuple[Read, RemoteInfo, Window]]) -> list[CutOut]:
        """The pixels of each window, in order.

        Raises:
            SceneError: an asset cannot be read; what was read so far is kept.
        """
        keys = [_key(unsigned(read.href), read.index, asdict(window)) for read, _, window in jobs]
        first: dict[str, tuple[Read, RemoteInfo, Window]] = {}
        for key, job in zip(keys, jobs, strict=True):  # what is asked for twice is read once
            first.setdefault(key, job)
        self._bar.set_description("assets", refresh=False)
        self._bar.total = sum(_bytes(info, window) for _, info, window in first.values())
        self._bar.refresh()
        files = dict(zip(first, self._at_once(self._cut_out, list(first.items())), strict=True))
        return [CutOut(read, *files[key], info) for key, (read, info, _) in zip(keys, jobs, strict=True)]

    def _at_once(self, function: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
        """Results in the order of jobs; the first failure stops the others between two requests."""
        with ThreadPoolExecutor(self._params.connections) as pool:
            futures = [pool.submit(function, job) for job in jobs]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                if any(not f.done() or f.exception() for f in futures):
                    self._stop.set()
                    pool.shutdown(wait=True, cancel_futures=True)
        failed = [f for f in futures if not f.cancelled() and f.exception()]
        told = [f for f in failed if not isinstance(f.exception(), _Stopped)]
        return [f.result() for f in told[:1] or futures]

    def _header(self, read: Read) -> RemoteInfo:
        file = self._folder / "headers" / f"{_key(unsigned(read.href))}.json"
        if (kept := read_json(file)) is not None:
            return RemoteInfo(**{**kept, "grid": Grid.from_dict(kept["grid"])})

        def attempt(signed: str) -> RemoteInfo:
            with open_remote(signed, self._params.retry.timeout_s) as remote:
                return remote.info

        info = self._persist(read, attempt)
        write_json(file, {**asdict(info), "grid": info.grid.to_dict()})
        return info

    def _cut_out(self, job: tuple[str, tuple[Read, RemoteInfo, Window]]) -> tuple[Path, str]:
        """The file of a window, named by its key, and its sha256."""
        key, (read, info, window) = job
        file, mark = self._folder / f"{key}.tif", self._folder / f"{key}.json"
        kept = read_json(mark)
        if kept is None or not file.exists() or file_sha256(file) != kept["sha256"]:
            parts = self._folder / "parts" / key
            bands = _bands_of_rows(window, info.block_rows)
            self._advance(sum(_bytes(info, band) for band in bands if (parts / f"{band.row}.npy").exists()))
            self._persist(read, lambda signed: self._read_parts(signed, read, info, bands, parts))
            grid = info.grid.crop(window)
            with raster_io.create(file, grid, info.dtype, [read.key], info.nodata,
                                  profile={"compress": "deflate", "blockysize": "64"}) as writer:
                for part in bands:
                    pixels = np.load(parts / f"{part.row}.npy")
                    writer.write(pixels, Window(part.row - window.row, 0, part.height, part.width))
            kept = {"sha256": file_sha256(file), "href": unsigned(read.href)}
            write_json(mark, kept)
            shutil.rmtree(parts)
        else:
            self._advance(_bytes(info, window))
        return file, str(kept["sha256"])

    def _read_parts(self, signed: str, read: Read, info: RemoteInfo, bands: Sequence[Window], parts: Path) -> None:
        """Read the bands of rows that are not there yet."""
        missing = [band for band in bands if not (parts / f"{band.row}.npy").exists()]
        with open_remote(signed, self._params.retry.timeout_s) as remote:
            for band in missing:
                if self._stop.is_set():
                    raise _Stopped(f"{read.subject} must be read: another asset failed first")
                pixels = remote.read(band, read.index)
                with staged_file(parts / f"{band.row}.npy") as partial:
                    np.save(partial, pixels)
                self._advance(_bytes(info, band))

    def _persist(self, read: Read, attempt: Callable[[str], R]) -> R:
        """The result of an attempt with a freshly signed href, repeated while the failure may pass."""
        href, signed = read.href, read.href

        def once() -> R:
            nonlocal signed
            signed = self._sign(href)
            return attempt(signed)

        def may_pass(error: Exception) -> bool:
            status = error.status if isinstance(error, RemoteError) else 0
            fresh = status in (401, 403) and bool(self._params.sign)  # a signature may have run out
            return not self._stop.is_set() and (fresh or status not in _FINAL)

        try:
            return repeat(once, may_pass, (RemoteError,), self._params.retry)
        except RemoteError as error:
            reason = without_signature(str(error), href, signed)[:200]
            raise SceneError(f"{read.subject} must be readable: {unsigned(href)} gave {reason!r} (tried up to "
                             f"{1 + self._params.retry.times} times); run again to go on with what was read so far, "
                             "or leave the item out by datetime") from error

    def _advance(self, count: int) -> None:
        with self._lock:
            self._bar.update(count)


class _Stopped(SceneError):
    """Given up because another asset failed; never what the user is told."""


def _key(*identity: object) -> str:
    return canonical_sha256(identity)[:24]


def _bytes(info: RemoteInfo, window: Window) -> int:
    return window.height * window.width * np.dtype(info.dtype).itemsize


def _bands_of_rows(window: Window, block_rows: int) -> list[Window]:
    """Bands of the window that end where the file's blocks end, so that no block is fetched twice."""
    step = block_rows * max(1, _ROWS // block_rows)
    edges = [window.row, *range((window.row // step + 1) * step, window.row + window.height, step),
             window.row + window.height]
    return [Window(a, window.col, b - a, window.width) for a, b in pairwise(edges)]
