"""Targets judged on metrics.json: each kind of score from its place, both networks, in report, log and seal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.gating import gate_count, gate_lines, gate_table, gates, log_gates
from pipeline.evaluation.part import PartScores, score_part, write_tables
from pipeline.evaluation.seal import unseal
from pipeline.evaluation.summary import headline_scores
from pipeline.params.targets import parse_targets
from pipeline.paths import Paths
from pipeline.reporting.evaluate_figures import draw_all
from pipeline.types import SilentLog
from tests.unit.evaluation.small_store import CHEAP, RedPredictor, params, write_store

TARGETS = {"mcc": ">= 0.1", "settlement.iou": ">= 0.99", "objects.settlement.found_share": ">= 0.2",
           "objects.settlement.f1": "> 0.9999", "objects.settlement.false": "<= 1000"}


def estimate(value: float, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def metrics() -> dict[str, Any]:
    """Written by hand; every score is elsewhere."""
    network = {"mcc": estimate(0.5, 0.4, 0.6), "iou": {"water": estimate(0.7, 0.6, 0.8)}}
    tta = {"mcc": estimate(0.55, 0.45, 0.65), "iou": {"water": estimate(0.75, 0.65, 0.85)}}
    counts = {"found_share": estimate(0.3, 0.2, 0.4), "f1": 0.9, "false": 9,
              "intervals": {"f1": estimate(0.2, 0.1, 0.3), "false": estimate(4, 3, 5)}}
    return {"headline": "reference", "objects": {"water": {"network": counts}},
            "truths": {"reference": {"network": network, "network_tta": tta},
                       "refined": {"network": {"mcc": estimate(0.9, 0.9, 0.9)}}}}


@pytest.mark.parametrize(("name", "low", "high"), [
    ("mcc", 0.4, 0.6), ("water.iou", 0.6, 0.8), ("objects.water.found_share", 0.2, 0.4), ("objects.water.f1", 0.1, 0.3),
    ("objects.water.false", 3, 5)])
def test_every_score_from_its_place(name: str, low: float, high: float) -> None:
    for rule, held in ((f">= {low}", True), (f"> {low}", False), (f"<= {high}", True), (f"< {high}", False)):
        (gate,) = gates(metrics(), parse_targets({name: rule}), 0.95)
        assert gate.held is held, rule
        assert (gate.estimate.low, gate.estimate.high) == (low, high)


def test_a_class_the_split_merged_away_holds_nothing() -> None:
    judged = gates(metrics(), parse_targets({"ice.iou": ">= 0.1", "objects.ice.f1": ">= 0.1"}), 0.95)
    assert ["undefined" in gate.reason for gate in judged] == [True, True]


def test_both_networks_are_judged_apart() -> None:
    found = metrics()
    found["gates"] = gate_table(found, parse_targets({"mcc": ">= 0.42", "water.iou": ">= 0.5"}), 0.95)
    assert [found["gates"][m]["mcc"]["held"] for m in ("network", "network_tta")] == [False, True]
    assert found["gates"]["network"]["mcc"] == {
        "rule": ">= 0.42", "held": False, "value": 0.5, "low": 0.4, "high": 0.6,
        "reason": "0.500 (0.400 to 0.600), of which the lower limit counts"}
    assert gate_count(found) == {"held": 1, "of": 2}
    assert gate_lines(found) == [
        "1 of 2 gates hold", "mcc >= 0.42 is missed: 0.500 (0.400 to 0.600), of which the lower limit counts",
        "2 of 2 gates hold with test-time augmentation"]


def test_a_score_that_few_draws_know_is_missed_with_its_share() -> None:
    found = metrics()
    found["truths"]["reference"]["network"]["iou"]["water"] |= {"low": 0.7, "high": 0.7, "defined": 0.65}
    found["gates"] = gate_table(found, parse_targets({"water.iou": ">= 0.5"}), 0.95)
    judged = found["gates"]["network"]["water.iou"]
    assert (judged["held"], judged["defined"]) == (False, 0.65)
    assert judged["reason"].startswith("0.700 is undefined in 35 % of the resamples")
    assert "defined" not in found["gates"]["network_tta"]["water.iou"]
    assert any("undefined in 35 %" in line for line in gate_lines(found))


class Kept(SilentLog):
    def __init__(self) -> None:
        self.said: dict[str, Any] = {}

    def tags(self, values: Mapping[str, str]) -> None:
        self.said |= values

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.said |= {f"number {name}": value for name, value in values.items()}


def test_the_log_has_tags_and_numbers() -> None:
    found, log = metrics(), Kept()
    found["gates"] = gate_table(found, parse_targets({"mcc": ">= 0.42"}), 0.95)
    log_gates(log, found)
    assert log.said == {"gate.mcc": "missed", "gate.network_tta.mcc": "held", "number gate.mcc": 0.0,
                        "number gate.network_tta.mcc": 1.0}
    silent = Kept()
    log_gates(silent, metrics())
    assert silent.said == {}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    return write_store(tmp_path_factory.mktemp("gates"), ("one",))


@pytest.fixture(scope="module")
def scores(paths: Paths) -> PartScores:
    return score_part(params(baselines=CHEAP, targets=TARGETS), paths, "val", RedPredictor(wrong=9))


def test_a_scored_part_has_them(scores: PartScores, tmp_path: Path) -> None:
    judged = scores.metrics["gates"]["network"]
    assert {name: gate["held"] for name, gate in judged.items()} == {
        "mcc": True, "settlement.iou": False, "objects.settlement.found_share": True, "objects.settlement.f1": False,
        "objects.settlement.false": True}
    network = scores.metrics["truths"]["reference"]["network"]
    assert judged["settlement.iou"]["low"] == network["iou"]["settlement"]["low"] < 0.99
    assert headline_scores(scores.metrics)["gates"] == {"held": 3, "of": 5}
    write_tables(scores, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["gates"] == scores.metrics["gates"]


def test_without_targets_nothing_is_said(paths: Paths) -> None:
    metrics = score_part(params(baselines=CHEAP), paths, "val", RedPredictor()).metrics
    assert "gates" not in metrics
    assert "gates" not in headline_scores(metrics)
    assert gate_lines(metrics) == []


def test_the_figure_is_drawn_and_repeats(scores: PartScores, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        draw_all(scores, tmp_path / name)
    assert (tmp_path / "a/gates.png").read_bytes() == (tmp_path / "b/gates.png").read_bytes()


def test_the_unsealed_part_is_judged_and_recorded(tmp_path: Path) -> None:
    paths = write_store(tmp_path)
    (paths.checkpoint / "members/0").mkdir(parents=True)
    (paths.checkpoint / "members/0/weights.safetensors").write_bytes(b"weights")
    settings = params(baselines=CHEAP, targets=TARGETS)
    scores, entry = unseal(settings, paths, RedPredictor(wrong=9), draw_all)
    assert scores.metrics["part"] == "test"
    assert entry["gates"] == gate_count(scores.metrics)
    assert entry["gates"]["of"] == 5
    assert json.loads(paths.unseal_log.read_text())["gates"] == entry["gates"]
    assert (paths.report("unseal") / "gates.png").is_file()
