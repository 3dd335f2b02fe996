"""A copy of the repository at one commit, in which stages run without touching the one it came from.

It is a clone that borrows the original's objects (`git clone --shared` writes nothing there, unlike `git worktree
add`), with a DVC cache, site folder, configuration and MLflow of its own. It is removed at the end, also on Ctrl-C,
SIGTERM and SIGHUP.
"""

import codecs
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.errors import IntegrityError
from pipeline.experiments.repository import reason_of
from pipeline.experiments.runner import shown

Say = Callable[[str], None]

#: What a caller's surroundings must not decide: where DVC, git, MLflow and Python look for things, and whose run it is.
#: What Kumulus is told by variables, such as the passphrase of a key, is not the commit's to know.
_NOT_INHERITED = ("DVC_", "GIT_", "MLFLOW_", "PYTHON", "KUMULUS_")

#: What numeric libraries take their number of threads from.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: How long what has been interrupted may take to end.
_GRACE_S = 20
#: Without a terminal, how often a running stage is heard of.
_HEARTBEAT_S = 60.0
#: How often the terminal's line is renewed.
_TICK_S = 0.5

_RUNNING = re.compile(r"^> python -m stages\.(\w+)")
_PRINT_PARAMS = ("import json; from pathlib import Path; from pipeline.params.load import load; "
                 "print(json.dumps(load(Path('params.yaml')).dump()))")

_PIECES = re.compile(r"[\r\n]+")
_LONGEST = 72


class Scratch:
    """A clone in a folder of its own; `root` is the project's folder in it."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder = folder
        self.root = folder / "repository" / prefix
        self.log = folder / "log.txt"
        #: Of the numeric libraries, as they were; 0 leaves it to the surroundings.
        self.threads = 0

    @property
    def environment(self) -> dict[str, str]:
        """Variables for what runs in it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        own = self.folder / "dvc"
        threads = {name: str(self.threads) for name in _THREADS} if self.threads else {}
        return kept | threads | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "DVC_SITE_CACHE_DIR": str(own / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(own / "global"),
            "DVC_SYSTEM_CONFIG_DIR": str(own / "system"),
            "DVC_NO_ANALYTICS": "true",
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}",
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": os.devnull,
        }

    def params(self) -> dict[str, Any]:
        """params.yaml of the commit, with the defaults of the commit's own schema.

        Raises:
            IntegrityError: the commit's code cannot read it.
        """
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", _PRINT_PARAMS], cwd=self.root, check=False,
                              env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise IntegrityError("the commit's own code must read its params.yaml: "
                                 f"{(done.stderr.strip().splitlines() or ['it ended without a word'])[-1]}; see "
                                 "whether the libraries that it needs are installed")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def repro(self, targets: Sequence[str], stages: int, say: Say) -> str:
        """Run `dvc repro --force`; why it failed, or "".

        Args:
            targets: options and names of stages; none runs them all.
            stages: how many will run, for the progress bar.
            say: shows a line when a stage begins, and now and then while it runs.
        """
        command = [sys.executable, "-m", "dvc", "repro", "--force", *targets]
        terminal = sys.stderr.isatty()
        descriptor, inner = os.openpty() if terminal else os.pipe()
        process = subprocess.Popen(command, cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL, stdout=inner,
                                   stderr=inner, start_new_session=True)
        os.close(inner)
        try:
            with self.log.open("a", encoding="utf-8") as log:
                _follow(descriptor, log, stages, say)
            status = process.wait()
        finally:
            os.close(descriptor)
            _end(process)
        return reason_of(self.log.read_text(encoding="utf-8"), status) if status else ""


def _follow(descriptor: int, log: Any, stages: int, say: Say) -> None:
    """Read what the stages print until they end: all of it into the log, the stage and its last line to the user."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    begun = heard = time.monotonic()
    rest, stage, number, last = "", "", 0, ""
    with tqdm(total=stages, desc="replay", unit="stage", disable=None, bar_format="{desc}: {n_fmt}/{total_fmt} "
              "[{elapsed}] {postfix}") as bar:
        while True:
            ready, _, _ = select.select([descriptor], [], [], _TICK_S)
            if ready:
                data = _read(descriptor)
                if not data:
                    break
                text = decoder.decode(data)
                log.write(text)
                *pieces, rest = _PIECES.split(rest + text)
                for piece in filter(str.strip, pieces):
                    last = piece.strip()
                    if match := _RUNNING.match(last):
                        stage, number = match.group(1), number + 1
                        bar.n, heard, last = number - 1, time.monotonic(), stage
                        if bar.disable:
                            say(f"replay: {number} of {stages}, {stage} ({shown(heard - begun)} elapsed)")
            if not bar.disable:
                bar.set_postfix_str(f"{stage}: {last}"[:_LONGEST])
            elif stage and time.monotonic() - heard > _HEARTBEAT_S:
                heard = time.monotonic()
                say(f"replay: {stage} goes on ({shown(heard - begun)} elapsed)")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # a terminal whose other side is closed
        return b""


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt a process and all that it has started; kill what does not end."""
    if process.poll() is not None:
        return
    for number, patience in ((signal.SIGINT, _GRACE_S), (signal.SIGKILL, None)):
        os.killpg(process.pid, number)
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def cloned(root: Path, prefix: str, commit: str, keep: bool, say: Say) -> Iterator[Scratch]:
    """Yield a clone of the repository around `root` at a commit, which any ref or none may lead to.

    Args:
        root: the project's folder.
        prefix: its path in the repository, "" or with a slash at the end.
        commit: what to check out.
        keep: leave the folder when the block ends.
        say: shows where it is kept.

    Raises:
        IntegrityError: git cannot clone or check out.
    """
    folder = Path(tempfile.mkdtemp(prefix="kumulus-replay-"))
    try:
        with _terminable():
            scratch = Scratch(folder, prefix)
            place = folder / "repository"
            top = _git(root, scratch, "rev-parse", "--show-toplevel").strip()
            _git(root, scratch, "clone", "--quiet", "--shared", "--no-checkout", top, str(place))
            _git(place, scratch, "checkout", "--quiet", "--detach", commit)
            _configure(scratch)
            yield scratch
    finally:
        if keep:
            say(f"replay: {folder} is kept; remove it when you have seen it")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _configure(scratch: Scratch) -> None:
    """A cache of its own: what the commit's configuration says of a shared one must not be written to."""
    local = scratch.root / ".dvc/config.local"
    local.parent.mkdir(exist_ok=True)
    local.write_text("[core]\n    analytics = false\n    check_update = false\n[cache]\n"
                     f"    dir = {scratch.folder / 'dvc/cache'}\n    type = \"reflink,hardlink,copy\"\n",
                     encoding="utf-8")


def _git(folder: Path, scratch: Scratch, *words: str) -> str:
    done = subprocess.run(["git", "--no-optional-locks", *words], cwd=folder, env=scratch.environment, text=True,
                          capture_output=True, check=False)
    if done.returncode:
        raise IntegrityError(f"`git {words[0]}` must work for a replay: {' '.join(done.stderr.split())[:300]}; see "
                             "whether the repository is whole (`git fsck`)")
    return done.stdout


@contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM and SIGHUP (a terminal that is closed) an exception, so that what is being done is cleared up.

    Only the main thread can.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before: dict[int, Any] = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
