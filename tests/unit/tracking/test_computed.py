"""The record of what was computed here: by which stage, in which workspace, and what it left."""

import json
import threading
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.paths import Paths
from pipeline.tracking import computed
from pipeline.tracking.computed import computations, origin, recorded
from pipeline.tracking.oids import artifact_digests

OUTS = {"acquire": ["data/raw", "reports/acquire"], "train": ["models/run.json", "reports/train"]}


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(computed, "stage_outs", lambda _, stage: OUTS[stage])
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    return Paths(tmp_path)


def acquire(paths: Paths, text: str) -> str:
    """Run a stage that makes one file; DVC's id of its out."""
    with recorded("acquire", paths):
        paths.raw.mkdir(parents=True, exist_ok=True)
        (paths.raw / "a").write_text(text)
    return artifact_digests(paths.raw, paths.root).oid


def test_a_finished_stage_leaves_its_environment_and_a_line(paths: Paths) -> None:
    oid = acquire(paths, "one")
    environment = json.loads((paths.report("acquire") / "environment.json").read_text())
    assert environment["device"] == "cpu"
    (line,) = computations(paths)
    report = artifact_digests(paths.report("acquire"), paths.root).oid
    assert line["outs"] == {"data/raw": oid, "reports/acquire": report}
    assert (line["stage"], line["run_key"], line["workspace"]) == ("acquire", "", str(paths.root))


def test_again_on_this_machine_the_environment_has_equal_bytes(paths: Paths) -> None:
    texts = []
    for _ in range(2):
        acquire(paths, "one")
        texts.append((paths.report("acquire") / "environment.json").read_bytes())
    assert texts[0] == texts[1]
    assert str(paths.root).encode() not in texts[0]


def test_a_training_has_its_key(paths: Paths) -> None:
    with recorded("train", paths):
        paths.run_file.parent.mkdir()
        paths.run_file.write_text('{"key": "k1", "environment": {"world_size": 2}}')
    assert computations(paths, "train")[0]["run_key"] == "k1"
    assert json.loads((paths.report("train") / "environment.json").read_text())["world_size"] == 2
    assert computations(paths, "acquire") == []


def test_a_stage_that_fails_leaves_nothing(paths: Paths) -> None:
    with pytest.raises(ValueError, match="failed"), recorded("acquire", paths):
        raise ValueError("failed")
    assert not paths.computed.exists()
    assert not paths.report("acquire").exists()


def test_an_out_that_was_not_made_is_an_error(paths: Paths) -> None:
    with pytest.raises(IntegrityError, match="data/raw must be a file"), recorded("acquire", paths):
        pass
    assert computations(paths) == []


@pytest.mark.parametrize(("ranks", "records"), [
    ({"RANK": "1", "LOCAL_RANK": "0"}, False), ({"RANK": "0", "LOCAL_RANK": "0"}, True), ({"LOCAL_RANK": "1"}, False),
    ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False), ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True), ({}, True)])
def test_only_the_main_process_records(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, ranks: dict[str, str], records: bool
) -> None:
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    acquire(paths, "one")
    assert bool(computations(paths)) == records


def test_under_dvc_exp_run_temp_it_is_the_real_repository_that_computed(
    paths: Paths, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Paths(tmp_path_factory.mktemp("real"))
    monkeypatch.setenv("DVC_ROOT", str(real.root))
    oid = acquire(paths, "one")
    monkeypatch.delenv("DVC_ROOT")
    assert computations(paths) == []
    assert origin(real, "acquire", oid) == "computed here"
    assert computations(real)[0]["workspace"] == str(paths.root)


def test_an_experiment_in_a_copy_leaves_alone_what_lies_in_the_repository(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = acquire(paths, "one")
    monkeypatch.setenv("DVC_ROOT", str(paths.root))
    made = [acquire(Paths(paths.root / f".dvc/tmp/exps/tmp{text}"), text) for text in ("two", "three")]
    monkeypatch.delenv("DVC_ROOT")
    assert [line["copy"] for line in computations(paths)] == [False, True, True]
    assert [origin(paths, "acquire", oid) for oid in (first, *made)] == ["computed here"] * 3
    acquire(paths, "four")
    assert [origin(paths, "acquire", oid) for oid in (first, *made)] == ["restored", *["computed here"] * 2]


def test_a_line_without_outs_is_none(paths: Paths) -> None:
    first = acquire(paths, "one")
    with paths.computed.open("a", encoding="utf-8") as file:
        file.write('{"stage": "acquire", "time": ""}\n{"stage": "acquire", "outs": []}\n[]\n')
    assert len(computations(paths)) == 1
    assert origin(paths, "acquire", first) == "computed here"


def test_where_an_artifact_comes_from(paths: Paths) -> None:
    assert origin(paths, "acquire", "x.dir") == "pulled"
    first = acquire(paths, "one")
    assert origin(paths, "acquire", first) == "computed here"
    second = acquire(paths, "two")
    assert origin(paths, "acquire", second) == "computed here"
    assert origin(paths, "acquire", first) == "restored"
    assert origin(paths, "acquire", "x.dir") == "pulled"
    assert origin(paths, "train", first) == "pulled"
    acquire(paths, "one")
    assert origin(paths, "acquire", first) == "computed here"


def test_lines_of_several_workspaces_do_not_mix_and_a_torn_one_is_left_out(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(paths.root))
    copies = [Paths(paths.root / f"copy{i}") for i in range(5)]
    threads = [threading.Thread(target=acquire, args=(copy, "one")) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {line["workspace"] for line in computations(paths)} == {str(copy.root) for copy in copies}
    with paths.computed.open("a") as file:
        file.write('[]\n{"stage": "acq')
    assert len(computations(paths)) == 5
