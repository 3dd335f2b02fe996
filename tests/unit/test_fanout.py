"""Jobs give the same results, warnings and errors in turn, in processes and on a cluster; none outlives its caller."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import fanout
from pipeline.errors import KumulusError, LabelError, ParamsError
from pipeline.fanout import PROCESSES, SCHEDULER, fan_out

ROOT = Path(__file__).resolve().parents[2]


def square(number: int) -> int:
    return number * number


def where(_: int) -> tuple[int, str, str | None]:
    return os.getpid(), str(Path.cwd()), os.environ.get("OMP_NUM_THREADS")


def complain(number: int) -> int:
    if number % 2:
        warnings.warn(f"{number} is odd", UserWarning, stacklevel=1)
    return number


def refuse(number: int) -> int:
    if number == 1:
        raise LabelError("label 1 must be another: got 1; change it")
    time.sleep(600 if number > 1 else 0)
    return number


def refuse_late(number: int) -> int:
    time.sleep(0 if number else 1.5)
    raise LabelError(f"label {number} must be another")


def touch_and_wait(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nested(number: int) -> list[int]:
    return [pid for pid, _, _ in fan_out(where, [1, 2, 3], "nested")] if number else []


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster on loopback: two processes of two threads."""
    from distributed import LocalCluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0", host="127.0.0.1") as local:
            yield local.scheduler_address


@pytest.fixture(params=["in turn", "processes", "cluster"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way once."""
    name: str = request.param
    if name == "processes":
        monkeypatch.setenv(PROCESSES, "2")
    if name == "cluster":
        monkeypatch.setenv(SCHEDULER, request.getfixturevalue("cluster"))
    return name


def test_results_come_in_the_order_of_jobs(way: str) -> None:
    assert fan_out(square, range(7), way) == [0, 1, 4, 9, 16, 25, 36]
    assert fan_out(square, [], way) == []


def test_jobs_run_where_they_are_asked_to_and_in_the_callers_folder(
        way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = fan_out(where, [1, 2, 3], way)
    assert {folder for _, folder, _ in found} == {str(tmp_path)}
    assert ({pid for pid, _, _ in found} == {os.getpid()}) is (way == "in turn")
    assert os.getpid() not in {pid for pid, _, _ in found} or way == "in turn"


def test_warnings_of_jobs_are_issued_here(way: str) -> None:
    with pytest.warns(UserWarning, match="odd") as caught:
        assert fan_out(complain, [1, 2, 3], way) == [1, 2, 3]
    assert [str(w.message) for w in caught] == ["1 is odd", "3 is odd"]


def test_a_warning_is_an_error_where_the_caller_says_so(way: str) -> None:
    with pytest.raises(UserWarning, match="1 is odd"):
        fan_out(complain, [1], way)


def test_an_error_keeps_its_class_and_message(way: str) -> None:
    with pytest.raises(LabelError, match=r"^label 1 must be another: got 1; change it$"):
        fan_out(refuse, [0, 1], way)


def test_the_error_of_the_earliest_job_is_shown_though_another_came_sooner(way: str) -> None:
    with pytest.raises(LabelError, match="label 0 must be another"):
        fan_out(refuse_late, [0, 1], way)


def test_a_fan_out_within_a_job_stays_in_its_process(way: str) -> None:
    inner = fan_out(nested, [1, 2], way)
    assert all(len(set(pids)) == 1 for pids in inner)


def test_workers_share_the_cores_unless_the_user_said_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROCESSES, "64")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    assert {threads for _, _, threads in fan_out(where, [1, 2], "x")} == {str(max(1, cores // 2))}
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert {threads for _, _, threads in fan_out(where, [1, 2], "x")} == {"3"}


def test_an_error_ends_the_other_processes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROCESSES, "3")
    others = set(multiprocessing.active_children())
    with pytest.raises(LabelError):
        fan_out(refuse, [0, 1, 2, 3, 4], "x")  # jobs from 2 on would sleep ten minutes
    assert set(multiprocessing.active_children()) <= others


def test_a_killed_worker_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROCESSES, "2")
    with pytest.raises(KumulusError, match="one was killed during burn; if memory ran out, lower KUMULUS_PROCESSES"):
        fan_out(die, [1, 2], "burn")


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_a_count_of_processes_must_be_one(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROCESSES, text)
    with pytest.raises(ParamsError, match=r"KUMULUS_PROCESSES must be a whole number from 1: got "):
        fan_out(square, [1], "x")


def test_a_dead_scheduler_is_one_clear_line_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv(SCHEDULER, f"tcp://127.0.0.1:{probe.getsockname()[1]}")
    monkeypatch.setattr(fanout, "_SCHEDULER_S", 1.0)
    with pytest.raises(ParamsError, match=r"must be the address of a running dask scheduler: 'tcp://.* did not answer"):
        fan_out(square, [1, 2], "x")


def test_an_address_that_is_none_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCHEDULER, "nonsense://x")
    monkeypatch.setattr(fanout, "_SCHEDULER_S", 1.0)
    with pytest.raises(ParamsError, match="must be the address of a running dask scheduler: 'nonsense://x'"):
        fan_out(square, [1, 2], "x")


def test_a_scheduler_without_workers_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(fanout, "_SCHEDULER_S", 1.0)
    with LocalCluster(n_workers=0, dashboard_address=":0", host="127.0.0.1") as local:
        monkeypatch.setenv(SCHEDULER, local.scheduler_address)
        with pytest.raises(ParamsError, match="must be that of a scheduler with workers"):
            fan_out(square, [1, 2], "x")


def test_a_cluster_of_other_code_is_refused(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCHEDULER, cluster)
    monkeypatch.setattr(fanout, "version", lambda name: "0.0")
    with pytest.raises(ParamsError, match=r"must have the same geopandas as this process \(0\.0\)"):
        fan_out(square, [1, 2], "x")


#: After which a process is taken to hang; a busy machine needs much of it.
PATIENCE_S = 90

_PARENT = """
import sys
from pipeline.fanout import fan_out
from tests.unit.test_fanout import touch_and_wait
if __name__ == "__main__":
    fan_out(touch_and_wait, sys.argv[1:], "x")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_a_killed_or_interrupted_caller(number: signal.Signals, tmp_path: Path) -> None:
    script, files = tmp_path / "parent.py", [tmp_path / "a", tmp_path / "b"]
    script.write_text(_PARENT)
    environment = {**os.environ, PROCESSES: "2", "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, script, *map(str, files)], env=environment, stderr=subprocess.DEVNULL)
    try:
        pids = [int(_wait(lambda file=file: file.exists() and file.read_text())) for file in files]  # type: ignore[misc]
        parent.send_signal(number)
        assert parent.wait(PATIENCE_S) != 0
        assert _wait(lambda: not any(_alive(pid) for pid in pids))
    finally:
        parent.kill()
        parent.wait()


def _wait(ask: Any) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"nothing happened in {PATIENCE_S} s"
        time.sleep(0.02)
    return answer


def _alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False

