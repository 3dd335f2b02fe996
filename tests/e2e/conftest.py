"""A repository of its own, in which the whole pipeline has run once on a small scene."""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

PARTS = ("pipeline", "stages", "inputs/README.md", "dvc.yaml", "requirements.lock", "pyproject.toml", ".dvcignore",
         ".gitignore", ".dvc/config", ".dvc/.gitignore")

#: The command, with the code of the folder that it runs in.
KUMULUS = (sys.executable, "-c", "from pipeline.cli import app; app()")

#: Variables of whoever runs the tests that no repository here is to heed.
NOT_INHERITED = ("DVC_", "MLFLOW_", "GIT_", "KUMULUS_", "DASK_SCHEDULER_ADDRESS")

#: Columns of MLflow's database with absolute places of artifacts.
PLACES = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"),
          ("model_versions", "storage_location"))


@dataclass(frozen=True)
class Repository:
    """A git and DVC repository with a copy of the project's code."""

    root: Path
    environment: dict[str, str]

    def call(self, *words: str) -> str:
        """What a command prints; its failure fails the test."""
        done = subprocess.run(words, cwd=self.root, env=self.environment, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}"
        return done.stdout

    def kumulus(self, *words: object) -> tuple[int, str]:
        """Exit status of a command of Kumulus, and what it prints."""
        done = subprocess.run([*KUMULUS, *map(str, words)], cwd=self.root, env=self.environment, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    def commit(self) -> None:
        """Put everything that git does not ignore on record."""
        self.call("git", "add", "--all")
        self.call("git", "commit", "--quiet", "--allow-empty", "--message", "state")

    def restore(self) -> None:
        """Take back every change to files that git tracks."""
        self.call("git", "checkout", "--quiet", ".")

    def set_params(self, changes: dict[str, Any]) -> None:
        """Set dotted keys of params.yaml."""
        yaml, path = YAML(), self.root / "params.yaml"
        document = yaml.load(path.read_text(encoding="utf-8"))
        for key, value in changes.items():
            *parents, last = key.split(".")
            node = document
            for part in parents:
                node = node[part]
            node[last] = value
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(document, file)

    def lock(self) -> dict[str, Any]:
        """The stages of dvc.lock."""
        found: dict[str, Any] = YAML(typ="safe").load(self.root / "dvc.lock")["stages"]
        return found

    def stale(self) -> set[str]:
        """Stages that DVC would run now: those with a changed dep, param or code, and what reads their outs."""
        changed = set(json.loads(self.call("dvc", "status", "--json")))
        stages = YAML(typ="safe").load(self.root / "dvc.yaml")["stages"]
        for name, stage in stages.items():  # in the order of the pipeline
            made = [out for other in changed for out in stages[other]["outs"]]
            if any(Path(dep).is_relative_to(out) for dep in stage["deps"] for out in made):
                changed.add(name)
        return changed


def new_repository(root: Path, project: Path, params: dict[str, Any], site: Path) -> Repository:
    """A committed repository in which nothing has run yet; `site` is DVC's folder for what repositories share."""
    for part in PARTS:
        source, target = project / part, root / part
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(params, file)
    inherited = {name: value for name, value in os.environ.items()
                 if name.startswith("KUMULUS_TEST_") or not name.startswith(NOT_INHERITED)}
    environment = inherited | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_SITE_CACHE_DIR": str(site),
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",  # nobody's hooks, and no signatures
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.c",
    }
    made = Repository(root, environment)
    made.call("git", "init", "--quiet", "--initial-branch", "main")
    made.commit()
    return made


def own_copy(repository: Repository, root: Path) -> Repository:
    """A copy of a repository at `root`, with an MLflow that knows where it lies, for tests that run something in it."""
    shutil.copytree(repository.root, root, symlinks=True)
    with closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        for table, column in PLACES:
            database.execute(f"update {table} set {column} = replace({column}, ?, ?)",
                             (str(repository.root), str(root)))
    return Repository(root, repository.environment)


def state(root: Path) -> dict[str, tuple[int, str]]:
    """Time of change and digest of every file in a folder, git's, DVC's and MLflow's too."""
    return {path.relative_to(root).as_posix(): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in root.rglob("*") if path.is_file()}


@contextmanager
def killed_at_the_end(process: subprocess.Popen[Any]) -> Iterator[None]:
    """A process that leads a group is killed with all of the group, also where the test fails meanwhile."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def repository(
    tmp_path_factory: pytest.TempPathFactory, project: Path, small_params: Callable[..., dict[str, Any]]
) -> Repository:
    """The pipeline's first run, committed; all tests share it, so none changes it (see `own_copy`)."""
    root, site = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("site")
    made = new_repository(root, project, small_params(), site)
    made.call("dvc", "repro")
    made.commit()
    return made
