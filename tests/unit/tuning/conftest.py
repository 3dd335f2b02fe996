"""A study with a short objective, and a PostgreSQL server of the tests' own."""

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.params.load import Params
from pipeline.tuning.space import TuneFile
from pipeline.tuning.storage import Place
from pipeline.tuning.study import Subject, begin
from pipeline.tuning.worker import Job

PASSWORD = "s3cret word{0}"

#: Score 1 - |log10(lr) + 3|, told in three steps. `plan.json` in the repository says what happens to which call: the
#: n-th call of all workers (from 0) is killed, hangs, writes into the data, or fails as it says.
OBJECTIVE = '''
import fcntl, json, math, os, signal, time
from types import SimpleNamespace
from pipeline.errors import ModelError


def call(root):
    with (root / "calls").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = len(file.readlines())
        file.write("call\\n")
    return number


def make(params, paths, tune, log):
    log.params({"inner_folds": [1, 2]})

    def objective(changes, report):
        score = 1 - abs(math.log10(changes["train.optimizer.lr"]) + 3)
        number = call(paths.root)
        plan = json.loads((paths.root / "plan.json").read_text())
        what = plan.get(str(number), plan.get("all", ""))
        if what == "fail":
            raise ModelError(f"loss must be finite: got nan in call {number}")
        if what == "defect":
            raise ZeroDivisionError("no such thing")
        if what == "nan":
            return SimpleNamespace(score=math.nan, fold_scores={}, epochs=1, pruned=False)
        for step in (1, 2, 3):
            if step == 2 and what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if step == 2 and what == "write":
                (paths.scenes / "file").write_text("other")
            if step == 2 and what == "hang":
                (paths.root / f"hangs-{number}").touch()
                time.sleep(600)
            if report(step, score):
                return SimpleNamespace(score=score, fold_scores={}, epochs=step, pruned=True)
        return SimpleNamespace(score=score, fold_scores={1: score, 2: score}, epochs=3, pruned=False)

    return objective


def refuse(params, paths, tune, log):
    raise ModelError("weights to start from must be there: got none")
'''

TUNE: dict[str, Any] = {
    "name": "short", "startup_trials": 3, "pruner": "none",
    "space": {"train.optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "train.batch_size": {"choices": [4, 8]}},
}


@dataclass(frozen=True)
class Bench:
    """A study in a temporary repository."""

    root: Path
    params: Params
    tune: TuneFile
    place: Place
    about: Subject

    def study(self) -> Any:
        """The study, begun if need be."""
        return begin(self.place, self.about, self.params, self.tune)

    def plan(self, **calls: str) -> None:
        """What happens to which call of the objective, as `call_2="kill"`, or to `all`."""
        (self.root / "plan.json").write_text(json.dumps({k.removeprefix("call_"): v for k, v in calls.items()}))

    def job(self, total: int, factory: str = "short_objective:make") -> Job:
        """What workers do."""
        return Job("", self.about.name, total, str(self.root), self.params.raw,
                   self.tune.model_dump(mode="json", by_alias=True, exclude_unset=True), str(self.place.folder),
                   self.place.url, self.place.heartbeat_s, self.place.grace_s, factory=factory)

    def at(self, url: str) -> "Bench":
        """The same in a database."""
        return replace(self, place=Place(self.place.folder, url, heartbeat_s=1, grace_s=3))


@pytest.fixture
def bench(tmp_path: Path, small_params: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A study with a journal, not yet begun, whose trials take milliseconds."""
    root, modules = tmp_path / "repository", tmp_path / "modules"
    root.mkdir()
    modules.mkdir()
    (modules / "short_objective.py").write_text(OBJECTIVE)
    monkeypatch.setenv("PYTHONPATH", str(modules))
    params = Params(small_params({"train.batch_size": 4}))
    made = Bench(root, params, TuneFile.model_validate(TUNE), Place(root / ".kumulus/tune"),
                 Subject("short-0123456789", {"train": {}, "code": {}}))
    made.plan()
    return made


def _programs() -> Path:
    """Where PostgreSQL's programs are."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not installed:
        pytest.skip("PostgreSQL: initdb is not installed; `apt-get install postgresql` brings it")
    return installed[-1].parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL, with a password, of a server that listens on loopback only and ends with the tests."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="kumulus-postgres-"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def call(program: str, *words: str) -> None:
        done = subprocess.run([str(programs / program), *words], cwd=folder, capture_output=True, text=True,
                              check=False, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **user)
        assert done.returncode == 0, f"{program}: {done.stdout} {done.stderr}"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "password").write_text(PASSWORD)
    if user:
        os.chown(folder / "password", user["user"], user["group"])
    data = str(folder / "data")
    call("initdb", "--pgdata", data, "--username", "kumulus", "--auth", "scram-sha-256", "--pwfile",
         str(folder / "password"), "--no-sync", "--encoding", "UTF8", "--locale", "C")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    # -l: the server must not hold the pipe that `call` reads to its end.
    call("pg_ctl", "--pgdata", data, "--wait", "--options", options, "--log", str(folder / "log"), "start")
    try:
        yield f"postgresql://kumulus:{PASSWORD.replace(' ', '%20').replace('{', '%7B').replace('}', '%7D')}" \
              f"@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "--pgdata", data, "--mode", "immediate", "stop")
        shutil.rmtree(folder)
