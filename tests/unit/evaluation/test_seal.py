"""The seal: no test score without a permit, no permit without a log, no look without a line."""

import json
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.digests import canonical_sha256, folder_sha256
from pipeline.errors import IntegrityError, ModelError, SealError
from pipeline.evaluation.part import PartScores, score_part
from pipeline.evaluation.permit import Permit, unsealing
from pipeline.evaluation.seal import unseal
from pipeline.params.load import Params
from pipeline.paths import Paths
from tests.unit.evaluation.small_store import CHEAP, CLASSES, RedPredictor, fold_and_block, params, write_store


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = write_store(tmp_path)
    (paths.checkpoint / "members/0").mkdir(parents=True)
    (paths.checkpoint / "members/0/weights.safetensors").write_bytes(b"weights")
    return paths


def quick() -> Params:
    return params(baselines=CHEAP)


def lines(paths: Paths) -> list[dict[str, object]]:
    return [json.loads(line) for line in paths.unseal_log.read_text().splitlines()]


def test_the_test_part_is_refused_without_a_permit_in_force(paths: Paths) -> None:
    with pytest.raises(SealError, match=r"must stay sealed.*kumulus unseal"):
        score_part(quick(), paths, "test", RedPredictor())
    with pytest.raises(SealError, match="must stay sealed"):
        score_part(quick(), paths, "test", RedPredictor(), Permit(paths))
    with unsealing(paths) as permit:
        pass
    with pytest.raises(SealError, match="must stay sealed"):
        score_part(quick(), paths, "test", RedPredictor(), permit)


def test_unseal_scores_exactly_the_test_part(paths: Paths) -> None:
    scores, _ = unseal(quick(), paths, RedPredictor())
    fold, block = fold_and_block()
    assert scores.part == "test"
    assert set(scores.confusions["part"]) == {"test"}
    assert set(scores.confusions["block"]) == set(block[fold == 254])
    assert scores.metrics["truths"]["reference"]["network"]["mcc"]["value"] == pytest.approx(1)


def test_unseal_appends_who_looked_at_what(paths: Paths) -> None:
    _, entry = unseal(quick(), paths, RedPredictor(wrong=9))
    assert lines(paths) == [entry]
    assert entry["model"] == folder_sha256(paths.checkpoint)
    assert entry["split"] == folder_sha256(paths.splits)
    assert entry["params"] == canonical_sha256(quick().dump())
    assert entry["look"] == 1
    assert entry["truth"] == "reference"
    assert entry["time"].endswith("+00:00")
    low, high = entry["intervals"]["mcc"]
    assert 0 < low < entry["scores"]["mcc"] < high < 1
    assert set(entry["scores"]) == {"mcc", "macro_iou", "accuracy", *(f"iou.{name}" for name in CLASSES)}


def test_every_look_adds_a_line_and_counts(paths: Paths) -> None:
    unseal(quick(), paths, RedPredictor())
    first = paths.unseal_log.read_bytes()
    _, entry = unseal(quick(), paths, RedPredictor())
    assert entry["look"] == 2
    assert paths.unseal_log.read_bytes().startswith(first)
    assert len(lines(paths)) == 2


def test_unseal_writes_its_own_report_with_figures(paths: Paths) -> None:
    def draw(scores: PartScores, folder: Path) -> None:
        assert lines(paths), "the look must be on record before anyone can see a figure"
        (folder / "figure.png").write_bytes(scores.part.encode())

    scores, _ = unseal(quick(), paths, RedPredictor(), draw)
    report = paths.report("unseal")
    assert sorted(p.name for p in report.iterdir()) == ["confusions.parquet", "figure.png", "headline.json",
                                                          "metrics.json"]
    assert json.loads((report / "metrics.json").read_text()) == scores.metrics
    assert not paths.report("evaluate").exists()


def test_two_unsealings_at_once_are_refused(paths: Paths) -> None:
    with unsealing(paths), pytest.raises(SealError, match=r"unseal\.lock is held by another process"):
        unseal(quick(), paths, RedPredictor())
    lock = paths.journal.parent / "unseal.lock"
    with FileLock(lock), pytest.raises(SealError, match="one unsealing must end before the next"):
        unseal(quick(), paths, RedPredictor())
    unseal(quick(), paths, RedPredictor())


def test_a_log_that_cannot_be_written_keeps_the_seal(paths: Paths) -> None:
    paths.unseal_log.mkdir()
    with pytest.raises(SealError, match=r"log unseal\.log\.jsonl must be writable"):
        unseal(quick(), paths, RedPredictor())
    paths.unseal_log.rmdir()
    unseal(quick(), paths, RedPredictor())


def test_a_scoring_that_fails_shows_nothing_and_records_nothing(paths: Paths) -> None:
    with pytest.raises(ModelError, match="classes must be"):
        unseal(quick(), paths, RedPredictor(("a", "b")))
    assert lines(paths) == []
    assert not paths.report("unseal").exists()


def test_a_permit_records_once(paths: Paths) -> None:
    with unsealing(paths) as permit:
        permit.record({"time": "now"})
        with pytest.raises(SealError, match="while its permit is in force"):
            permit.record({"time": "later"})
    assert lines(paths) == [{"time": "now"}]


def test_an_error_inside_is_not_mistaken_for_one_of_the_log(paths: Paths) -> None:
    with pytest.raises(OSError, match="disk full"), unsealing(paths):
        raise OSError("disk full")


def test_no_checkpoint_no_unsealing(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"checkpoint must be a folder.*dvc repro"):
        unseal(quick(), write_store(tmp_path), RedPredictor())
