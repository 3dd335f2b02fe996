"""What is asked of git and DVC: the state of the working folder, an experiment run, and what it has made."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.digests import LOCK_FILE, stage_code
from pipeline.errors import IntegrityError, ParamsError
from pipeline.experiments.plan import STAGES, TARGET
from pipeline.params.load import parse
from pipeline.paths import Paths

#: How long DVC may take to clear up after Ctrl-C.
_GRACE_S = 60

#: Characters of a reason; the log has the rest.
_LONGEST = 240

#: What a comparison needs of an experiment: metrics and counts, and the split's certificate.
RESULTS = ("metrics.json", "confusions.parquet", "certificate.json")

_RUNNING = re.compile(r"^> python -m stages\.(\w+)")


@dataclass(frozen=True)
class Ended:
    """How an experiment's process ended; `reason` is "" where it ended well."""

    reason: str
    stages: tuple[str, ...]


def require_committed(root: Path) -> None:
    """Make sure that params.yaml, dvc.yaml, code and lock are those of HEAD: experiments hang on a commit.

    DVC runs them in copies of the repository, and while it makes one (seconds) it lays the changes into the working
    folder; killed then, it would leave them there. A commit is what one finds back to.

    Raises:
        ParamsError: a file is changed or unknown to git.
        IntegrityError: git fails.
    """
    code = {name for stage in STAGES for name in stage_code(root, stage)}
    files = [name for name in ("params.yaml", "dvc.yaml", LOCK_FILE, *sorted(code)) if (root / name).exists()]
    if changed := git(root, "status", "--porcelain", "--ignored", "--", *files).splitlines():
        raise ParamsError(f"what an ablation runs must be committed, as experiments hang on a commit: "
                          f"{changed[0][3:]} is {'unknown to git' if changed[0][0] in '?!' else 'changed'}; "
                          "`git commit` it, or take the change back")


def head(root: Path) -> str:
    """The commit that experiments hang on.

    Raises:
        IntegrityError: there is none.
    """
    return git(root, "rev-parse", "HEAD").strip()


def experiment_rev(root: Path, name: str) -> str | None:
    """The commit of a finished experiment; the newest where several commits have one of that name.

    Names are compared to the letter: git would read one with * or [ as a pattern.

    Raises:
        IntegrityError: git fails.
    """
    found = git(root, "for-each-ref", "--sort=-committerdate", "--format=%(objectname) %(refname:lstrip=4)",
                "refs/exps/*/*/*")
    return next((line.split()[0] for line in found.splitlines() if line.partition(" ")[2] == name), None)


def untracked_inputs(root: Path, inputs: str) -> list[str]:
    """Paths below the inputs folder that a copy of the repository would lack: neither git nor DVC has them.

    Raises:
        IntegrityError: git fails.
    """
    if Path(inputs).is_absolute() or not (root / inputs).is_dir():
        return []
    found = git(root, "ls-files", "--others", "--directory", "-z", "--", inputs).split("\0")
    names = [name.rstrip("/") for name in found if name]
    return [name for name in names if not name.endswith(".dvc") and not (root / f"{name}.dvc").exists()]


def command(name: str, overrides: Sequence[str], copies: Sequence[str]) -> list[str]:
    """The call of DVC that runs a variant."""
    changed = [word for override in overrides for word in ("--set-param", override)]
    copied = [word for path in copies for word in ("--copy-paths", path)]
    return ["dvc", "exp", "run", "--temp", "--name", name, *changed, *copied, TARGET]


def run_experiment(root: Path, name: str, overrides: Sequence[str], copies: Sequence[str], log: Path,
                   environment: Mapping[str, str], keep_open: int) -> Ended:
    """Run the stages up to evaluate in a copy of the repository, as an experiment of DVC.

    Args:
        root: the repository.
        name: the experiment's.
        overrides: of params.yaml, as `-S` takes them.
        copies: paths to copy that neither git nor DVC has.
        log: gets all that is printed.
        environment: set for the stages.
        keep_open: a file descriptor that DVC's process inherits, so that a lock outlives whoever started it.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", *command(name, overrides, copies)], cwd=root, stdout=output,
                                   stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, pass_fds=(keep_open,),
                                   env={**os.environ, **environment, "PATH": path})
        try:
            status = process.wait()
        except KeyboardInterrupt:
            _end(process)
            raise
    text = log.read_text(encoding="utf-8", errors="replace")
    stages = tuple(match.group(1) for line in text.splitlines() if (match := _RUNNING.match(line)))
    return Ended(reason_of(text, status) if status else "", stages)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process that has been interrupted too; kill it where it does not end."""
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def reason_of(text: str, status: int) -> str:
    """Why an experiment failed: the line before the one where DVC says which stage did, or DVC's own error."""
    lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip()]
    errors = [i for i, line in enumerate(lines) if line.startswith("ERROR: ")]
    if not errors:
        return _short(lines[-1] if lines else f"dvc ended with status {status}")
    first = errors[0]
    before = lines[first - 1] if first else ">"
    of_stage = lines[first].startswith("ERROR: failed to reproduce") and not before.startswith(">")
    return _short(before if of_stage else lines[first].removeprefix("ERROR: "))


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def read_results(root: Path, name: str, rev: str, folder: Path) -> None:
    """Write an experiment's metrics.json, confusions.parquet and certificate.json into a folder.

    Raises:
        IntegrityError: DVC does not have them any more.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    at = Paths()
    places = {file: (at.splits if file == "certificate.json" else at.report("evaluate")) / file for file in RESULTS}
    try:
        files = DVCFileSystem(str(root), rev=rev)
        for file, place in places.items():
            (folder / file).write_bytes(files.read_bytes(place.as_posix()))
    except (DvcException, OSError) as error:
        raise IntegrityError(f"experiment {name} must have its results in DVC's cache: {error}; run "
                             f"`dvc exp remove {name}` and the ablation again") from error


def require_params(root: Path, rev: str, expected: Mapping[str, object]) -> None:
    """Make sure that an experiment ran with the params that were planned.

    Raises:
        IntegrityError: it did not.
    """
    ran = parse(git(root, "show", f"{rev}:./params.yaml")).dump()
    if wrong := [name for name, value in expected.items() if json.dumps(ran[name]) != json.dumps(value)]:
        raise IntegrityError(f"experiment {rev[:7]} must have run with the params that were planned: section "
                             f"{wrong[0]} differs; leave params.yaml alone while an ablation runs, and run it again")


def git(root: Path, *words: str) -> str:
    """What git prints.

    Raises:
        IntegrityError: it fails.
    """
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise IntegrityError(f"`git {words[0]}` must work in {root.resolve().name}, as experiments hang on a commit: "
                             f"{' '.join(done.stderr.split())[:300]}")
    return done.stdout
