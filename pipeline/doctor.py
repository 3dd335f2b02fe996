"""`kumulus doctor`: what is installed, which device computes, is the repository in order.

Each check answers with a state and, where something is amiss, with what mends it. Nothing is changed.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from pipeline.errors import ParamsError
from pipeline.params.load import load
from pipeline.paths import Paths
from pipeline.tracking.store import UnreachableError, locate, probe

#: Below this a run of the default scene may fill the disk.
FREE_GB = 5.0

#: What installs the lock anew.
REINSTALL = "rm .venv/.installed && make setup"

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Check:
    """One line of the report; `wrong` makes the command fail."""

    subject: str
    state: State
    text: str


def examine(paths: Paths) -> Iterator[Check]:
    """All checks, in the order they are shown; those that take seconds come last."""
    yield python()
    yield installed(paths.root / "requirements.lock")
    yield git(paths.root)
    yield dvc(paths.root)
    yield params(paths)
    yield disk(paths.root)
    yield tracking(paths)
    yield unfinished(paths)
    yield device()


def python() -> Check:
    """Version of the interpreter and where it lies."""
    where = f"{platform.system()} {platform.machine()}, {sys.prefix}"
    return Check("python", "ok", f"{platform.python_version()} on {where}")


def installed(lock: Path) -> Check:
    """Whether every package of the lock is installed in the version it names."""
    if not lock.is_file():
        return Check("packages", "wrong", f"{lock.name} is missing; run in the project's root")
    wanted = [Requirement(line) for line in re.findall(r"^([A-Za-z0-9][^\\\n]*?) *\\?$", lock.read_text("utf-8"), re.M)]
    wanted = [r for r in wanted if r.marker is None or r.marker.evaluate()]
    differing = [text for r in wanted if (text := _difference(r))]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        return Check("packages", "wrong", f"{', '.join(differing[:3])}{more}; run `{REINSTALL}`")
    return Check("packages", "ok", f"{len(wanted)} as in {lock.name}")


def _difference(wanted: Requirement) -> str:
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{wanted.name} is not installed"
    fits = wanted.specifier.contains(version, prereleases=True)
    return "" if fits else f"{wanted.name} is {version}, not {wanted.specifier}"


def _output(root: Path, *command: str) -> str | None:
    """What a command prints, None where it fails or does not exist."""
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def git(root: Path) -> Check:
    """Whether the folder is a git checkout with a commit, and how much of it is not committed."""
    if _output(root, "git", "rev-parse", "--is-inside-work-tree") is None:
        return Check("git", "wrong", "no git checkout here, which DVC needs; clone the repository or run `git init`")
    head = _output(root, "git", "rev-parse", "--short", "HEAD")
    if head is None:
        return Check("git", "wrong", "no commit yet, which `dvc exp run` needs; commit the project")
    changes = len((_output(root, "git", "status", "--porcelain") or "").splitlines())
    rest = f"{changes} uncommitted changes" if changes else "nothing uncommitted"
    return Check("git", "ok", f"commit {head}, {rest}")


def dvc(root: Path) -> Check:
    """Whether DVC is set up and finds the pipeline."""
    if not (root / ".dvc/config").is_file():
        return Check("dvc", "wrong", ".dvc/config is missing; restore it from git")
    stages = _output(root, sys.executable, "-m", "dvc", "stage", "list", "--name-only")
    if stages is None:
        return Check("dvc", "wrong", "`dvc stage list` fails; run it to see why")
    on_path = shutil.which("python")
    if on_path is None or Path(on_path).parent != Path(sys.executable).parent:
        return Check("dvc", "note", f"stages run `python`, which is {on_path} on PATH; "
                                    "activate .venv before you call dvc yourself")
    remote = _output(root, sys.executable, "-m", "dvc", "config", "core.remote")
    place = f"default remote {remote}" if remote else "no remote"
    return Check("dvc", "ok", f"{len(stages.splitlines())} stages, {place}")


def params(paths: Paths) -> Check:
    """Whether params.yaml is valid."""
    try:
        load(paths.params_file)
    except ParamsError as error:
        return Check("params", "wrong", str(error))
    return Check("params", "ok", "params.yaml is valid")


def disk(root: Path) -> Check:
    """Free space where artifacts and cache lie."""
    free = shutil.disk_usage(root).free / 1e9
    if free < FREE_GB:
        return Check("disk", "wrong", f"{free:.1f} GB free, at least {FREE_GB:g} are needed; "
                                      "`dvc gc --workspace` drops old results")
    return Check("disk", "ok", f"{free:.0f} GB free")


def tracking(paths: Paths) -> Check:
    """Whether the MLflow store can be reached; runs go to a journal where it cannot."""
    store = locate(paths)
    try:
        probe(store)
    except UnreachableError as error:
        return Check("mlflow", "note", f"{store.shown} does not answer ({error}); runs are kept in a journal, "
                                       "`kumulus sync` sends them later")
    return Check("mlflow", "ok", store.shown)


def unfinished(paths: Paths) -> Check:
    """Interrupted trainings and runs that MLflow has not received."""
    trainings = sum(p.is_dir() for p in paths.resume.glob("*"))
    runs = sum(p.is_dir() and not p.name.startswith(".") for p in paths.journal.glob("*"))
    if not trainings and not runs:
        return Check("unfinished", "ok", "nothing")
    parts = [f"{trainings} interrupted trainings (`make repro` takes them up)"] * bool(trainings)
    parts += [f"{runs} runs not yet in MLflow (`kumulus sync`)"] * bool(runs)
    return Check("unfinished", "note", ", ".join(parts))


def device() -> Check:
    """What torch would compute on."""
    try:
        import torch
    except ImportError as error:
        return Check("device", "wrong", f"torch cannot be imported ({error}); run `{REINSTALL}`")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check("device", "ok", f"{', '.join(names)}; torch {torch.__version__}")
    if torch.backends.mps.is_available():
        return Check("device", "ok", f"Apple GPU; torch {torch.__version__}")
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    return Check("device", "ok", f"CPU, {threads}; torch {torch.__version__}")
