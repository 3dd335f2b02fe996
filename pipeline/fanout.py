"""Run one function on many jobs: here in turn, in processes, or on an existing dask.distributed cluster.

Which of them is the surroundings' choice, never a parameter, because it must not change a byte of any result:

- DASK_SCHEDULER_ADDRESS set: on that cluster. Its workers see the same files under the same paths and run the same
  code and libraries (checked); a worker process computes one job at a time.
- KUMULUS_PROCESSES above 1: in that many processes of this machine (spawned), never more than there are jobs.
- else in turn, in this process: the only way whose memory is that of one job.

A job is written to be done twice (a cluster repeats it when a worker dies): it owns the files it writes. Jobs, results
and the function are pickled; the function stands at the top of its module.
"""

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from pipeline.cores import available_cores
from pipeline.errors import KumulusError, ParamsError

J = TypeVar("J")
R = TypeVar("R")

#: The environment variables that choose.
PROCESSES, SCHEDULER = "KUMULUS_PROCESSES", "DASK_SCHEDULER_ADDRESS"

#: Seconds in which a scheduler answers, and has a worker.
_SCHEDULER_S = 5.0

#: Libraries that compute results; a cluster must have the versions that run here.
_LIBRARIES = ("geopandas", "numpy", "rasterio", "scipy", "shapely")

#: Variables that say how many threads the libraries of a worker start.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

#: True in a worker process, where a fan-out within a job runs in turn.
_in_worker = False

#: A dask worker may have many threads; warnings and the working folder belong to the whole process.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class _Done(Generic[R]):
    """A job's result, and the warnings it gave (message, class, file, line)."""

    result: R
    warned: tuple[tuple[Warning, type[Warning], str, int], ...]


def fan_out(function: Callable[[J], R], jobs: Sequence[J], desc: str) -> list[R]:
    """Results of the function in the order of jobs, equal wherever they were computed.

    Warnings of the jobs are issued here, in the order of jobs. The error that is raised is that of the earliest job
    that has one, as it is in turn; jobs before it end, later ones are broken off or never start.

    Args:
        function: a function at the top of its module, which may be called twice with the same job.
        jobs: its arguments.
        desc: what is done, for the progress bar and for messages.

    Raises:
        ParamsError: KUMULUS_PROCESSES is no count, or DASK_SCHEDULER_ADDRESS leads to no cluster that could do it.
        KumulusError: a worker was killed, as happens when memory runs out.
    """
    jobs, processes = list(jobs), process_count()
    if address := "" if _in_worker else os.environ.get(SCHEDULER, ""):
        return _collect(_on_cluster(function, jobs, desc, address))
    if min(processes, len(jobs)) > 1 and not _in_worker:
        return _collect(_in_processes(function, jobs, desc, min(processes, len(jobs))))
    return [function(job) for job in tqdm(jobs, desc=desc, unit="job", disable=True if len(jobs) < 2 else None)]


def process_count() -> int:
    """What KUMULUS_PROCESSES says; 1 where it is unset or empty.

    Raises:
        ParamsError: it is not a whole number from 1.
    """
    text = os.environ.get(PROCESSES, "").strip()
    if text and not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise ParamsError(f"{PROCESSES} must be a whole number from 1: got {text!r}; set it to the number of scenes "
                          "to compute at once, or unset it")
    return int(text or 1)


def _guarded(function: Callable[[J], R], job: J) -> _Done[R]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(job)
    return _Done(result, tuple((_instance(w), w.category, w.filename, w.lineno) for w in caught))


def _instance(caught: warnings.WarningMessage) -> Warning:
    return caught.message if isinstance(caught.message, Warning) else caught.category(caught.message)


def _collect(done: Sequence[_Done[R]]) -> list[R]:
    seen: dict[Any, Any] = {}
    for one in done:
        for message, category, file, line in one.warned:
            warnings.warn_explicit(message, category, file, line, registry=seen)
    return [one.result for one in done]


def _in_processes(function: Callable[[J], R], jobs: list[J], desc: str, count: int) -> list[_Done[R]]:
    others, result = set(multiprocessing.active_children()), None
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin_worker, (str(Path.cwd()),))
    try:
        with _thread_limit(count):
            futures = [pool.submit(_guarded, function, job) for job in jobs]
        result = _await(futures, desc)
    except BrokenProcessPool as error:
        raise KumulusError(f"worker processes must live to the end of their job: one was killed during {desc}; if "
                           f"memory ran out, lower {PROCESSES} (now {count} at once)") from error
    finally:
        pool.shutdown(wait=result is not None, cancel_futures=True)
        if result is None:  # also on Ctrl-C
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
                worker.join()  # so that nothing writes any more when the caller clears up
    return result


def _await(futures: list["Future[_Done[R]]"], desc: str) -> list[_Done[R]]:
    """Results in order, or the error of the earliest job that has one: after an error the jobs before it end first."""
    with tqdm(total=len(futures), desc=desc, unit="job", disable=None) as progress:
        for future in futures:
            future.add_done_callback(lambda _: progress.update())
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for place, future in enumerate(futures):
            if future in done and not future.cancelled() and future.exception() is not None:
                for later in futures[place + 1:]:
                    later.cancel()
                break
        return [future.result() for future in futures]


def _begin_worker(folder: str) -> None:
    """Set a spawned worker up: the caller's folder, deaf to Ctrl-C (the caller ends it), gone when the caller is."""
    global _in_worker
    _in_worker = True
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # one progress bar is enough: the caller's
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose caller was killed would wait for ever, or go on to write into a folder nobody owns."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _thread_limit(workers: int) -> Iterator[None]:
    """Processes started within share the cores instead of each taking all; what the user has set stays."""
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(max(1, available_cores() // workers))))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _on_cluster(function: Callable[[J], R], jobs: list[J], desc: str, address: str) -> list[_Done[R]]:
    """As many jobs at a time as there are workers; after an error those under way end and no other starts."""
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    results: dict[int, _Done[R]] = {}
    failed: dict[int, BaseException] = {}
    with _client(address) as client, tqdm(total=len(jobs), desc=desc, unit="job", disable=None) as progress:
        folder, waiting = str(Path.cwd()), list(enumerate(jobs))[::-1]
        places: dict[Any, int] = {}

        def submit() -> Any:
            place, job = waiting.pop()
            future = client.submit(_on_worker, function, job, folder, pure=False)
            places[future] = place
            return future

        completed: Any = as_completed
        under_way = completed([submit() for _ in range(min(_workers(client, address), len(jobs)))], loop=client.loop)
        for future in under_way:
            problem = future.exception()
            if problem is None:
                results[places.pop(future)] = future.result()
                progress.update()
            else:
                failed[places.pop(future)] = problem
            if waiting and not failed:
                under_way.add(submit())
    if failed:
        first = failed[min(failed)]
        if isinstance(first, KilledWorker):
            raise KumulusError(f"workers of the cluster at {address} must live to the end of their job: several were "
                               f"killed during {desc}; give each more memory") from first
        raise first
    return [results[place] for place in range(len(jobs))]


def _client(address: str) -> Any:
    from distributed import Client

    make: Any = Client
    try:
        return make(address, timeout=_SCHEDULER_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ParamsError(f"{SCHEDULER} must be the address of a running dask scheduler: {address!r} did not answer "
                          f"within {_SCHEDULER_S:g} s; start it, or unset the variable to compute here") from error


def _workers(client: Any, address: str) -> int:
    """How many workers there are, each with this code and these libraries."""
    try:
        client.wait_for_workers(1, timeout=_SCHEDULER_S)
    except TimeoutError as error:
        raise ParamsError(f"{SCHEDULER} must be that of a scheduler with workers: {address} had none within "
                          f"{_SCHEDULER_S:g} s; start some, or unset the variable to compute here") from error
    here = _surroundings(str(Path.cwd()))
    try:
        there: Mapping[str, Mapping[str, str]] = client.run(_surroundings, str(Path.cwd()))
    except ImportError as error:
        raise ParamsError(f"workers of the cluster at {address} must run this code: they cannot import it ({error}); "
                          "start them from the project's folder, in its environment") from error
    for worker, found in sorted(there.items()):
        if different := sorted(name for name in here if here[name] != found.get(name)):
            name = different[0]
            raise ParamsError(f"workers of the cluster at {address} must have the same {name} as this process "
                              f"({here[name]}), or results could differ: {worker} has {found.get(name)}; start them "
                              "from the same project, environment and file system")
    return len(there)


def _surroundings(folder: str) -> dict[str, str]:
    """What results depend on besides a job: code, Python, libraries, and whether the caller's folder is there."""
    digest, root = hashlib.sha256(), Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    python = ".".join(str(number) for number in sys.version_info[:2])
    status = Path(folder).stat() if Path(folder).is_dir() else None
    return {"working folder": f"{folder} (inode {status.st_ino})" if status else "no such folder",
            "code": digest.hexdigest()[:12], "Python": python, **{name: version(name) for name in _LIBRARIES}}


def _on_worker(function: Callable[[J], R], job: J, folder: str) -> _Done[R]:
    global _in_worker
    with _one_at_a_time:
        before = Path.cwd()
        os.chdir(folder)
        _in_worker = True
        try:
            return _guarded(function, job)
        finally:
            _in_worker = False
            os.chdir(before)
