"""Where a study lives: a journal of this repository, or a PostgreSQL database that several machines share.

Whoever takes a trial, or takes up one whose worker is gone, does so under the study's own lock (`claim`), which dies
with its process: a file lock beside the journal, an advisory lock in PostgreSQL. So nobody takes a trial too many, and
what a claim leaves half done is known to be over. A database's URL may hold a password; only `shown` is for people.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from pipeline.errors import IntegrityError, KumulusError, ParamsError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage
    from optuna.study import Study
    from optuna.trial import Trial
    from sqlalchemy import URL

#: How often a worker says in the database that it lives, and after how long a silence its trial is given up, seconds.
HEARTBEAT_S, GRACE_S = 15, 120

#: Seconds between two attempts at a database that does not answer.
_PAUSE_S = 1.0

#: Age of what a search has left behind, in seconds, from which on it is taken away.
_STALE_S = 24 * 3600

_JOURNAL = ".journal"

T = TypeVar("T")


class StorageError(KumulusError):
    """The database of a study does not answer, or cannot be used."""


@dataclass(frozen=True)
class Place:
    """Where the studies of a repository are kept.

    `folder`: .kumulus/tune, for journals and for the locks of this machine's workers. `url`: of a PostgreSQL database;
    "" means journals.
    """

    folder: Path
    url: str = field(default="", repr=False)
    heartbeat_s: int = HEARTBEAT_S
    grace_s: int = GRACE_S

    def __post_init__(self) -> None:
        """Refuse what is no PostgreSQL.

        Raises:
            ParamsError: the URL is none, or another database's.
        """
        if self.url:
            _database(self.url)

    @property
    def kind(self) -> str:
        """What keeps the studies, for records."""
        return "postgresql" if self.url else "journal"

    @property
    def shown(self) -> str:
        """The place without user and password, for messages and records."""
        if not self.url:
            return "journal"
        url = _database(self.url)
        return f"postgresql://{url.host or 'localhost'}{f':{url.port}' if url.port else ''}/{url.database or ''}"

    def journal(self, study: str) -> Path:
        """The journal of a study."""
        return self.folder / f"{study}{_JOURNAL}"

    def exists(self, study: str) -> bool:
        """Whether the study has been begun.

        Raises:
            StorageError: the database does not answer.
        """
        return study in self.studies(study)

    def studies(self, prefix: str) -> list[str]:
        """Names of studies that begin so: of journals the one that was written last stands last.

        A journal without a line is no study: it was cut off when it was begun.

        Raises:
            StorageError: the database does not answer.
        """
        if not self.url:
            found = sorted((path for path in self.folder.glob(f"{prefix}*{_JOURNAL}") if path.stat().st_size),
                           key=lambda path: path.stat().st_mtime_ns)
            return [path.name.removesuffix(_JOURNAL) for path in found]
        import optuna

        with self.answering():
            return [name for name in optuna.get_all_study_names(self.open("")) if name.startswith(prefix)]

    def open(self, study: str) -> "BaseStorage":
        """Optuna's storage with the study; tables or journal are made where there are none.

        Raises:
            StorageError: the database does not answer, or was made by another version of optuna.
        """
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
        from sqlalchemy.pool import NullPool

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if not self.url:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.journal(study)
            return JournalStorage(JournalFileBackend(str(file), lock_obj=_flock()(str(file))))
        url = _database(self.url).render_as_string(hide_password=False)
        with self.answering(), self.claim("tables"), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats are, since 2021
            try:
                # No pool: a connection that waits for hours between two trials is one that firewalls cut.
                return _rdb(self)(url.replace("{", "%7B"), engine_kwargs={"poolclass": NullPool},
                                  heartbeat_interval=self.heartbeat_s, grace_period=self.grace_s)
            except RuntimeError as error:
                raise StorageError(f"the study's database at {self.shown} must be of this version of optuna: "
                                   f"{self.redacted(str(error))}; `optuna storage upgrade` migrates it") from None

    @contextlib.contextmanager
    def claim(self, study: str) -> Iterator[None]:
        """Hold the study's lock: one process of all machines at a time. Gone with the process, however it ends.

        Raises:
            StorageError: the database does not answer.
        """
        if not self.url:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / f"{study}.claim").open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
            return
        from sqlalchemy import create_engine, text
        from sqlalchemy.pool import NullPool

        key = int.from_bytes(hashlib.sha256(f"kumulus {study}".encode()).digest()[:8], "big", signed=True)
        engine = create_engine(_database(self.url), poolclass=NullPool)
        with contextlib.ExitStack() as stack:
            with self.answering():
                stack.callback(engine.dispose)
                connection = stack.enter_context(engine.connect())
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            yield

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Turn what a database and its driver raise into a StorageError that holds no password.

        Raises:
            StorageError: the database does not answer.
        """
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            raise StorageError(f"the study's database at {self.shown} must answer: {self.redacted(str(error))}; start "
                               "it, or see that this machine may connect to it") from None

    def patiently(self, do: Callable[[], T], say: Callable[[str], None] | None = None) -> T:
        """Do something with the storage; where the database does not answer, again and again for `grace_s` seconds.

        Args:
            do: what may be done twice.
            say: told once what is being waited for.

        Raises:
            StorageError: the database still does not answer.
        """
        end = time.monotonic() + self.grace_s
        while True:
            try:
                with self.answering():
                    return do()
            except StorageError as error:
                if (left := end - time.monotonic()) <= 0:
                    raise
                if say:
                    say(f"{error}; trying again for {self.grace_s} s")
                    say = None
            time.sleep(min(_PAUSE_S, left))

    def beat(self, study: "Study", trial: "Trial") -> None:
        """Say in a database that the trial's worker lives; a journal's workers hold locks instead.

        Raises:
            StorageError: the database does not answer.
        """
        if self.url:
            storage: Any = study._storage
            with self.answering():
                storage.record_heartbeat(trial._trial_id)

    def redacted(self, text: str) -> str:
        """The first line of a message, without the password."""
        line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")[:300]
        secrets = [] if not self.url else [self.url, str(_database(self.url).password or "")]
        for secret in filter(None, secrets):
            line = line.replace(secret, "***")
        return line

    def lock_of(self, worker: str) -> Path:
        """The file that a worker of this machine holds a lock on for as long as it lives."""
        return self.folder / "workers" / f"{worker}.lock"


@contextlib.contextmanager
def held(file: Path) -> Iterator[None]:
    """Hold the lock that says that this process lives; the file goes where the block ends well, and stays otherwise.

    Raises:
        IntegrityError: another process holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise IntegrityError(f"a worker must have a name of its own: {file.stem} lives; start it again") from error
        yield
        file.unlink(missing_ok=True)


def is_held(file: Path) -> bool:
    """Whether the process that locked the file lives."""
    try:
        with file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def sweep(folder: Path) -> None:
    """Take away what searches of earlier days have left: locks and logs of dead workers, ground of inner folds.

    Of ground nothing is taken while a worker may live. Young locks are not tried: that could keep one from starting.

    Args:
        folder: of the studies, .kumulus/tune.
    """
    oldest = time.time() - _STALE_S
    lives = False
    for file in sorted((folder / "workers").glob("*.*")):
        lock = file.with_suffix(".lock")
        if _modified(lock) > oldest or is_held(lock):
            lives = True
        elif _modified(file) < oldest:
            file.unlink(missing_ok=True)
    for ground in () if lives else sorted(path for path in (folder / "inner").glob("*") if path.is_dir()):
        with FileLock(lock := ground.with_suffix(".lock")):
            if 0 < _modified(ground) < oldest:
                shutil.rmtree(ground)
                lock.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    """When a file or folder was written last, seconds; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _database(url: str) -> "URL":
    """The URL with the driver that is installed.

    Raises:
        ParamsError: it is none, or of another database.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    rule = "--storage must be postgresql://user@host/database, or left out for a journal in .kumulus/tune"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ParamsError(f"{rule}: what is given is no URL; see docs/experiments.md") from None
    scheme = parsed.drivername.partition("+")[0]
    if scheme not in ("postgresql", "postgres"):
        raise ParamsError(f"{rule}: got a URL of {scheme!r}; see docs/experiments.md")
    return parsed.set(drivername="postgresql+psycopg")


def _rdb(place: Place) -> "type[RDBStorage]":
    """Optuna's storage in a database, whose heartbeat does not end with the first time the database is away."""
    from optuna.storages import RDBStorage

    class Patient(RDBStorage):
        def record_heartbeat(self, trial_id: int) -> None:
            beat = super().record_heartbeat
            place.patiently(lambda: beat(trial_id))

    return Patient


def _flock() -> Any:
    """A lock class for optuna's journal: one that a killed process leaves neither held nor the journal torn."""
    from optuna.storages.journal import JournalFileOpenLock

    class Flock(JournalFileOpenLock):
        def __init__(self, file: str) -> None:
            super().__init__(file)
            self._journal = Path(file)
            self._descriptor = -1

        def acquire(self) -> bool:
            self._descriptor = os.open(self._journal, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            _mend(self._descriptor)
            return True

        def release(self) -> None:
            os.close(self._descriptor)

    return Flock


def _mend(descriptor: int) -> None:
    """Cut off a last line that a kill or a full disk has left half written; nobody has read it."""
    size = os.fstat(descriptor).st_size
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    start = max(0, size - 2**20)
    os.ftruncate(descriptor, start + os.pread(descriptor, size - start, start).rfind(b"\n") + 1)
