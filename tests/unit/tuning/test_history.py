"""What is written of a study: results.json, trials.csv, best.yaml; worked by hand on a few trials."""

import csv
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ruamel.yaml import YAML

from pipeline.errors import ParamsError
from pipeline.tuning import history, retry
from pipeline.tuning.space import TuneFile
from pipeline.tuning.study import DEFAULT

SPACE = {"train.optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "train.batch_size": {"choices": [4, 8]},
         "train.network.decoder_channels": {"choices": [[32, 16], [64, 32]]}}
TUNE = TuneFile.model_validate({"name": "hand", "space": SPACE, "metric": "macro_iou"})


def study_of(*trials: dict[str, Any]) -> Any:
    study = optuna.create_study(study_name="hand-0123456789", direction="maximize")
    distributions = {"train.optimizer.lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True),
                     "train.batch_size": optuna.distributions.CategoricalDistribution([4, 8]),
                     "train.network.decoder_channels":
                         optuna.distributions.CategoricalDistribution(["[32, 16]", "[64, 32]"])}
    for trial in trials:
        params = {"train.optimizer.lr": trial.pop("lr", 1e-3), "train.batch_size": trial.pop("batch", 4),
                  "train.network.decoder_channels": trial.pop("channels", "[32, 16]")}
        state = trial.get("state", TrialState.COMPLETE)
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, **{"state": state, **trial}))
    return study


HAND: tuple[dict[str, Any], ...] = (
    {"value": 0.5, "user_attrs": {DEFAULT: True, "fold_scores": {"1": 0.4, "2": 0.6}, "epochs": 6, "threads": "2"}},
    {"state": TrialState.FAIL, "lr": 2e-3},
    {"value": 0.75, "lr": 2e-3, "batch": 8, "channels": "[64, 32]", "user_attrs": {retry.RETRY_OF: 1, retry.KILLS: 1}},
    {"state": TrialState.PRUNED, "value": 0.9, "intermediate_values": {1: 0.9}},
    {"state": TrialState.FAIL, "user_attrs": {retry.ERROR: "loss must be finite"}},
    {"value": 0.75, "lr": 3e-3},
)


def test_the_best_is_the_first_of_the_highest_and_never_a_pruned_one() -> None:
    found = history.results(study_of(*map(dict, HAND)), TUNE, "journal", 5)
    assert (found["best"]["number"], found["best"]["score"]) == (2, 0.75)
    assert found["best"]["values"] == {"train.optimizer.lr": 0.002, "train.batch_size": 8,
                                       "train.network.decoder_channels": [64, 32]}
    assert found["default"]["score"] == 0.5
    assert found["counts"] == {"done": 3, "pruned": 1, "failed": 1, "lost": 1, "running": 0, "waiting": 0}
    assert found["metric"] == "macro_iou"


def test_what_params_yaml_had_is_told_as_it_was() -> None:
    study = study_of({"value": 0.5, "lr": 0.00123456, "user_attrs": {DEFAULT: True}}, {"value": 0.25, "lr": 0.00123456})
    rows = history.results(study, TUNE, "journal", 5)["trials"]
    assert [row["values"]["train.optimizer.lr"] for row in rows] == [0.00123456, 0.001235]


def test_files(tmp_path: Path) -> None:
    history.write(history.results(study_of(*map(dict, HAND)), TUNE, "journal", 5), tmp_path)
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["done", "lost", "done", "pruned", "failed", "done"]
    assert (rows[0]["fold_1"], rows[0]["fold_2"], rows[0]["default"], rows[0]["epochs"]) == ("0.4", "0.6", "true", "6")
    assert (rows[2]["retry_of"], rows[2]["train.optimizer.lr"], rows[2]["score"]) == ("1", "0.002", "0.75")
    assert rows[4]["reason"] == "loss must be finite"
    assert rows[1]["score"] == ""
    text = (tmp_path / "best.yaml").read_text()
    assert text.startswith("# Trial 2 of study hand-0123456789: macro_iou 0.7500 on inner folds.")
    assert YAML(typ="safe").load(text) == {"train": {"optimizer": {"lr": 0.002}, "batch_size": 8,
                                                     "network": {"decoder_channels": [64, 32]}}}
    assert json.loads((tmp_path / "results.json").read_text())["trials"][3]["score"] == 0.9


def test_equal_studies_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        history.write(history.results(study_of(*map(dict, HAND)), TUNE, "journal", 5), tmp_path / name)
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}


def test_without_a_score_there_is_no_best(tmp_path: Path) -> None:
    study = study_of({"state": TrialState.FAIL, "user_attrs": {retry.ERROR: "no"}})
    found = history.results(study, TUNE, "journal", 5)
    history.write(found, tmp_path)
    assert found["best"] is None
    assert not (tmp_path / "best.yaml").exists()
    with pytest.raises(ParamsError, match=r"study hand-0123456789 must have a finished trial: none of its 1 is"):
        history.winner(study, TUNE)


def test_too_few_trials_have_no_importances() -> None:
    found = history.results(study_of(*map(dict, HAND)), TUNE, "journal", 5)
    assert found["importances"] is None
    assert found["importances_note"] == "too few trials for importances: 3 have a score, and 10 are needed"


def test_the_key_that_makes_the_difference_is_the_important_one() -> None:
    rates = [10 ** (-4 + 2 * n / 11) for n in range(12)]
    study = study_of(*({"value": -abs(n - 5.5), "lr": rate, "batch": 4 + 4 * (n % 2)} for n, rate in enumerate(rates)))
    found = history.results(study, TUNE, "journal", 12)
    assert next(iter(found["importances"])) == "train.optimizer.lr"
    assert found["importances"]["train.optimizer.lr"] > 0.8
    assert sum(found["importances"].values()) == pytest.approx(1)
    assert found["importances"] == history.results(study, TUNE, "journal", 12)["importances"]
    flat = study_of(*({"value": 0.5, "lr": rate} for rate in rates))
    assert history.results(flat, TUNE, "journal", 12)["importances_note"].startswith("all trials have the same score")


def test_one_key_alone_has_no_importance() -> None:
    one = TuneFile.model_validate({"name": "hand", "space": {"train.batch_size": {"choices": [4, 8]}}})
    study = optuna.create_study(direction="maximize")
    assert history.results(study, one, "journal", 1)["importances_note"].startswith("one key is searched")
