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
from urllib.parse import quote

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

    def at(self, url: str, grace_s: int = 30) -> "Bench":
        """The same in a database; a worker that has been silent for `grace_s` seconds is taken for dead."""
        return replace(self, place=Place(self.place.folder, url, heartbeat_s=1, grace_s=grace_s))


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


class Server:
    """A PostgreSQL server in a folder of its own, as a user of its own where PostgreSQL refuses to run: as root."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        password = folder / "password"
        password.write_text(PASSWORD)
        for path in (folder, password) if self._user else ():
            os.chown(path, self._user["user"], self._user["group"])
        done = self._call("initdb", "--username", "kumulus", "--auth", "scram-sha-256", "--pwfile", str(password),
                          "--no-sync", "--encoding", "UTF8", "--locale", "C")
        assert done.returncode == 0, f"initdb: {done.stdout} {done.stderr}"

    def _call(self, program: str, *words: str) -> "subprocess.CompletedProcess[str]":
        call = [str(self._programs / program), "--pgdata", str(self._folder / "data"), *words]
        return subprocess.run(call, cwd=self._folder, capture_output=True, text=True, check=False,
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **self._user)

    def start(self) -> int:
        """Start it; its port, which is another where somebody took the first meanwhile."""
        log = self._folder / "log"
        for _ in range(3):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            options = (f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={self._folder} "
                       "-c fsync=off")
            # --log: the server must not hold the pipe that `_call` reads to its end.
            if self._call("pg_ctl", "--wait", "--options", options, "--log", str(log), "start").returncode == 0:
                return port
            self._call("pg_ctl", "--mode", "immediate", "stop")  # it may only have been too slow
        pytest.fail(f"PostgreSQL did not start: {log.read_text() if log.exists() else 'it left no log'}")

    def stop(self) -> None:
        """Stop it at once."""
        done = self._call("pg_ctl", "--mode", "immediate", "stop")
        assert done.returncode == 0, f"pg_ctl stop: {done.stdout} {done.stderr}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL, with a password, of a server that listens on loopback only and ends with the tests."""
    programs, folder = _programs(), Path(tempfile.mkdtemp(prefix="kumulus-postgres-"))
    try:
        server = Server(programs, folder)
        port = server.start()
        try:
            yield f"postgresql://kumulus:{quote(PASSWORD)}@127.0.0.1:{port}/postgres"
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
