"""Delivery of journals: beside a running stage as a process of its own, and by `kumulus sync` afterwards.

A process, not a thread: importing mlflow takes seconds of pure Python that a training would share its
interpreter lock with, its environment and global state stay out of the stage, a hanging request can be
ended, and a run whose stage was killed is closed by someone who is still alive. `python -m
pipeline.tracking.sender JOURNAL REPOSITORY`.
"""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from pipeline.digests import CODE_ROOT
from pipeline.errors import IntegrityError
from pipeline.paths import Paths
from pipeline.tracking.delivery import ABOVE, Bookmark, Courier, delivery_lock
from pipeline.tracking.journal import begin, is_over, journals, members, writer_lives
from pipeline.tracking.store import QUIET, RefusedError, UnreachableError, locate, probe

#: Seconds a finished stage waits for a server that makes no progress, for a database (which may have to be
#: made on a busy machine), and at most in all.
STALL_S = 20.0
DATABASE_STALL_S = 60.0
LIMIT_S = 120.0

_POLL_S = 0.5
_RETRY_S = 10.0
#: The longest a journal that was refused is left alone while its training goes on.
_RETRY_MOST_S = 600.0
_LAST_ATTEMPTS = 2


@dataclass(frozen=True)
class Delivery:
    """What `sync` did with one journal."""

    folder: Path
    #: delivered, running, unreachable, refused
    outcome: str
    #: One sentence, for people.
    message: str


def sync(paths: Paths) -> list[Delivery]:
    """Deliver all journals of runs that are over, oldest first; done again it resumes and doubles nothing."""
    if not paths.journal.is_dir():
        return []
    store = locate(paths)
    out: list[Delivery] = []
    courier: Courier | None = None
    with delivery_lock(paths.journal):
        for folder in journals(paths.journal):
            if writer_lives(folder) and not is_over(folder):
                out.append(Delivery(folder, "running", f"{folder.name} is written and sent by its stage"))
                continue
            try:
                if courier is None:
                    probe(store)
                    courier = Courier(store)
                courier.deliver(folder)
                out.append(Delivery(folder, "delivered", f"{folder.name} is in MLflow at {store.shown}"))
            except UnreachableError as error:
                out.append(Delivery(folder, "unreachable", (
                    f"MLflow at {store.shown} did not answer ({error}); {folder.name} and all after it are "
                    "kept: start it and run `kumulus sync` again")))
                break
            except (RefusedError, IntegrityError) as error:
                out.append(Delivery(folder, "refused", (
                    f"{folder.name} was not taken by MLflow at {store.shown}: {error}")))
    return out


def start(folder: Path, paths: Paths) -> "subprocess.Popen[bytes]":
    """Start the sender of a journal; it outlives a killed stage for as long as it takes to close the run."""
    store = locate(paths)
    python_path = os.pathsep.join(filter(None, (str(CODE_ROOT), os.environ.get("PYTHONPATH"))))
    environment = QUIET | os.environ | {
        "MLFLOW_TRACKING_URI": store.uri, "DVC_ROOT": str(paths.repository), "PYTHONPATH": python_path,
        "CUDA_VISIBLE_DEVICES": ""}
    with (folder / "sender.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.tracking.sender", str(folder), str(paths.repository)],
            cwd=paths.repository, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True)


def finish(process: "subprocess.Popen[bytes]", folder: Path, paths: Paths, key: str) -> str:
    """Wait for the sender of a closed journal, as long as it gets on.

    Args:
        process: the sender.
        folder: the journal.
        paths: where the journals lie.
        key: the training's, whose members' journals the same sender delivers.

    Returns:
        "" if all is delivered; else one line for people, and the journal stays for `kumulus sync`.
    """
    store = locate(paths)
    patience = STALL_S if store.is_server else DATABASE_STALL_S
    started = progress = time.monotonic()
    marks = _bookmarks(folder, key)
    while process.poll() is None:
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            if (latest := _bookmarks(folder, key)) != marks:
                marks, progress = latest, now
            if now - progress > patience or now - started > LIMIT_S:
                process.kill()
                process.wait()
                if folder.exists():
                    _note(folder, problem=f"no answer in {now - progress:.0f} s")
    return _left(folder, paths, key, f"its sender ended with status {process.returncode}, see sender.log", store.shown)


def _left(folder: Path, paths: Paths, key: str, ended: str, server: str) -> str:
    """What a finished stage says of journals that are still there: its own, and older ones of the same training."""
    others = members(folder.parent, key)
    training = _stage_of(folder) in ABOVE
    own = [path for path in (folder, *(others if training else ())) if path.exists()]
    kept = own or others
    if not kept:
        return ""
    reason = next((mark.problem for mark in map(Bookmark.load, kept) if mark.problem), ended)
    shown = [str(p.relative_to(paths.repository) if p.is_relative_to(paths.repository) else p) for p in kept]
    more = f" and {len(shown) - 1} beside it" if len(shown) > 1 else ""
    if not own:
        return (f"tracking: MLflow at {server} has this run, but not yet all of its training ({reason}): "
                f"{shown[0]}{more} waits for `kumulus sync`")
    what = "this run" if folder in own else f"all of this {'study' if _stage_of(folder) == 'tune' else 'training'}"
    older = f" (and {len(others)} older of its training)" if others and not training else ""
    return (f"tracking: MLflow at {server} did not take {what} ({reason}); nothing is lost: "
            f"it lies in {shown[0]}{more}, and `kumulus sync` sends it later{older}")


def _stage_of(folder: Path) -> str:
    """The stage in a journal's name, which outlives the journal."""
    return folder.name.rpartition("-")[0].rpartition("-")[2]


def follow(folder: Path, paths: Paths) -> bool:
    """Deliver a journal while it grows, with others of the same training; True once it is delivered.

    Older journals go first; those of its members go out beside it, and before its end.
    """
    courier: Courier | None = None
    store = locate(paths)
    failures = 0
    waiting = _Waiting()
    while folder.exists():
        over = is_over(folder) or not writer_lives(folder)
        pause = _POLL_S
        try:
            if courier is None or failures:
                probe(store)
            with delivery_lock(paths.journal).acquire(timeout=STALL_S):
                if not folder.exists():
                    break
                if courier is None:
                    _note(folder, step="connects")
                    courier = Courier(store)
                    _note(folder, step="connected")
                if _deliver_with_others(courier, folder, paths.journal, waiting, over):
                    return True
            failures = 0
        except (UnreachableError, RefusedError, IntegrityError, Timeout) as error:
            _note(folder, problem=str(error))
            failures += 1
            if over and (failures >= _LAST_ATTEMPTS or isinstance(error, RefusedError | IntegrityError)):
                return False
            pause = _POLL_S if over else _RETRY_S
        _sleep(pause, folder, over)
    return True


class _Waiting:
    """Other journals that MLflow has refused: each is left alone for a while, twice as long after each time."""

    def __init__(self) -> None:
        self._pauses: dict[Path, float] = {}
        self._until: dict[Path, float] = {}

    def deliver(self, courier: Courier, folder: Path, last: bool) -> None:
        """Deliver a journal unless it is left alone; what refuses it is noted beside it, and kept from nobody else.

        Args:
            courier: who delivers.
            folder: the journal.
            last: whether there is no later time, so that it is tried in any case.
        """
        if not last and time.monotonic() < self._until.get(folder, 0.0):
            return
        try:
            courier.deliver(folder)
        except (RefusedError, IntegrityError) as error:  # it stays, and `kumulus sync` says why
            _note(folder, problem=str(error))
            self._pauses[folder] = min(2 * self._pauses.get(folder, _RETRY_S / 2), _RETRY_MOST_S)
            self._until[folder] = time.monotonic() + self._pauses[folder]
        else:
            self._pauses.pop(folder, None)


def _deliver_with_others(courier: Courier, folder: Path, root: Path, waiting: _Waiting, last: bool) -> bool:
    """Deliver what is over of the same training first (a child looks for its parent), then members, then this one."""
    first = begin(folder)
    key = first.fields["key"]
    for older in journals(root):
        head = begin(older)
        if older != folder and head.fields["key"] == key and head.t <= first.t and (
                is_over(older) or not writer_lives(older)):
            waiting.deliver(courier, older, last)
    if first.fields["stage"] in ABOVE:
        courier.open(folder)
        for member in members(root, key):
            waiting.deliver(courier, member, last)
    return courier.deliver(folder)


def _note(folder: Path, *, step: str = "", problem: str = "") -> None:
    """Leave word for the stage that waits."""
    mark = Bookmark.load(folder)
    if (mark.step, mark.problem) != (step, problem):
        mark.step, mark.problem = step, problem
        mark.save(folder)


def _sleep(seconds: float, folder: Path, over: bool) -> None:
    """Sleep, but wake when the run ends."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and (over or not (is_over(folder) or not writer_lives(folder))):
        time.sleep(min(_POLL_S, seconds))


def _bookmarks(folder: Path, key: str) -> list[tuple[str, Bookmark]]:
    """How far a journal and those of the training's members have got, by folder."""
    found = []
    for path in (folder, *members(folder.parent, key)):
        with contextlib.suppress(FileNotFoundError):
            found.append((path.name, Bookmark.load(path)))
    return found


def main() -> None:
    """Entry point of the sender process."""
    sys.exit(0 if follow(Path(sys.argv[1]), Paths(Path(sys.argv[2]))) else 1)


if __name__ == "__main__":
    main()
