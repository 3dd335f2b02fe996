"""What makes a study this one: the basis its name is a digest of, its first trial, its sampler and its pruner."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from pipeline.errors import IntegrityError, ParamsError
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.tuning import basis as basis_module
from pipeline.tuning.basis import basis, code, differences
from pipeline.tuning.space import TuneFile
from pipeline.tuning.study import (
    BASIS,
    DEFAULT,
    KEY,
    Subject,
    begin,
    check_pruner,
    load,
    pruner,
    sampler,
    siblings,
    subject,
)
from pipeline.tuning.study import differences as study_differences
from tools.closure import closure, observers

SPACE = {"train.optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}}


def tune_of(**changes: Any) -> TuneFile:
    return TuneFile.model_validate({"name": "short", "space": SPACE, **changes})


@pytest.fixture
def data(tmp_path: Path) -> Paths:
    """A repository with something in place of scenes and split."""
    paths = Paths(tmp_path / "data_repository")
    for folder in (paths.scenes, paths.splits):
        folder.mkdir(parents=True)
        (folder / "file").write_text(folder.name)
    return paths


@pytest.fixture
def same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that nobody edits while the test runs."""
    monkeypatch.setattr(basis_module, "code", lambda: {"pipeline/one.py": "0" * 64})


@pytest.fixture
def params_of(small_params: Callable[..., dict[str, Any]]) -> Callable[..., Params]:
    return lambda **changes: Params(small_params({key.replace("__", "."): v for key, v in changes.items()}))


@pytest.mark.usefixtures("same_code")
def test_the_name_follows_from_what_a_score_stands_on(data: Paths, params_of: Callable[..., Params]) -> None:
    params, tune = params_of(), tune_of()
    name = subject(params, data, tune).name
    assert name == subject(params, data, tune).name
    assert name.startswith("short-")
    assert len(name) == len("short-") + 10
    others = {
        "another space": subject(params, data, tune_of(space={**SPACE, "train.batch_size": {"choices": [2, 4]}})),
        "other epochs": subject(params, data, tune_of(epochs=2)),
        "another metric": subject(params, data, tune_of(metric="macro_iou")),
        "another batch": subject(params_of(train__batch_size=8), data, tune),
        "another seed": subject(params_of(seed=1), data, tune),
    }
    (data.splits / "file").write_text("other")
    others["another split"] = subject(params, data, tune)
    assert len({name, *(other.name for other in others.values())}) == 7


@pytest.mark.usefixtures("same_code")
def test_how_is_searched_and_the_winner_leave_the_name(data: Paths, params_of: Callable[..., Params]) -> None:
    params, tune = params_of(), tune_of()
    name = subject(params, data, tune).name
    for same in (tune_of(trials=99), tune_of(threads=1), tune_of(pruner="hyperband"), tune_of(startup_trials=2),
                 tune_of(sampler="random", seed=1)):
        assert subject(params, data, same).name == name
    assert subject(params_of(train__optimizer__lr=2e-3), data, tune).name == name
    assert subject(params_of(export__class_shares={}), data, tune).name == name


def test_a_missing_split_is_an_error(data: Paths, params_of: Callable[..., Params]) -> None:
    shutil.rmtree(data.splits)
    with pytest.raises(IntegrityError, match=r"splits must be a folder"):
        subject(params_of(), data, tune_of())


@pytest.mark.usefixtures("same_code")
def test_differences_name_what_differs(data: Paths, params_of: Callable[..., Params]) -> None:
    then = basis(params_of(), data, tune_of())
    assert differences(then, then) == []
    (data.scenes / "file").write_text("other")
    now = basis(params_of(train__batch_size=8), data, tune_of(epochs=2))
    assert differences(then, now) == ["data/scenes", "train.batch_size: 4 -> 8", "the tune file's epochs"]
    assert differences(then, {**then, "code": {}})[0] in then["code"]
    assert json.loads(json.dumps(then)) == then


def test_the_code_is_all_that_an_objective_imports(project: Path) -> None:
    imported = closure(project, "pipeline.tuning.objective", observers(project))
    have = set(code())
    left_out = {f"pipeline/tuning/{name}.py" for name in basis_module._NO_SCORE}
    of_train = closure(project, "stages.train", observers(project))  # dvc.yaml has it after `make deps`
    assert imported - have - of_train - left_out == set()
    assert not have & (left_out - {"pipeline/tuning/__init__.py"})


def test_a_study_begins_with_the_values_of_params_yaml(bench: Any) -> None:
    study = bench.study()
    waiting = study.get_trials()[0]
    assert waiting.user_attrs == {DEFAULT: True}
    assert study.ask().suggest_float("train.optimizer.lr", 1e-4, 1e-2, log=True) == pytest.approx(
        bench.params.raw["train"].get("optimizer", {}).get("lr", 1e-3))
    key = study.user_attrs[KEY]
    again = bench.study()
    assert len(again.get_trials()) == 1
    assert again.user_attrs[KEY] == key
    assert again.user_attrs[BASIS] == {"train": {}, "code": {}}


def test_values_outside_the_space_are_no_first_trial(bench: Any) -> None:
    tune = TuneFile.model_validate({"name": "short", "space": {"train.batch_size": {"choices": [32, 64]}}})
    assert begin(bench.place, bench.about, bench.params, tune).get_trials() == []


def test_another_study_of_the_same_file_is_found_and_told_apart(bench: Any) -> None:
    bench.study()
    other = Subject("short-aaaaaaaaaa", {"train": {"train.batch_size": 8}, "code": {}})
    assert siblings(bench.place, bench.tune, but=other.name) == ["short-0123456789"]
    assert siblings(bench.place, bench.tune, but="short-0123456789") == []
    assert study_differences(bench.place, other, "short-0123456789") == ["train.batch_size: None -> 8"]
    (bench.place.folder / "short-of-another-name.journal").touch()
    assert siblings(bench.place, bench.tune, but=other.name) == ["short-0123456789"]


def test_a_study_that_has_not_begun_cannot_be_loaded(bench: Any) -> None:
    with pytest.raises(ParamsError, match=r"study short-0123456789 must have been begun: there is none .* in journal"):
        load(bench.place, "short-0123456789", bench.tune)


def test_the_sampler_of_a_trial_depends_on_seed_and_number_alone() -> None:
    def drawn(seed: int, number: int, kind: str) -> float:
        study = optuna.create_study(sampler=sampler(tune_of(seed=seed, sampler=kind), number))
        return study.ask().suggest_float("x", 0, 1)

    for kind in ("tpe", "random"):
        values = [drawn(1, 0, kind), drawn(1, 1, kind), drawn(2, 0, kind)]
        assert len(set(values)) == 3
        assert drawn(1, 1, kind) == values[1]


def test_the_tune_file_names_the_pruner(params_of: Callable[..., Params]) -> None:
    assert isinstance(pruner(params_of(), tune_of(pruner="none")), optuna.pruners.NopPruner)
    assert isinstance(pruner(params_of(), tune_of(pruner="hyperband")), optuna.pruners.HyperbandPruner)
    study = optuna.create_study(direction="maximize",
                                pruner=pruner(params_of(), tune_of(startup_trials=2, warmup_epochs=2)))
    for score in (0.5, 0.7):
        trial = study.ask()
        for step in (1, 2, 3):
            trial.report(score, step)
        study.tell(trial, score)
    trial = study.ask()
    stops = []
    for step in (1, 2, 3):
        trial.report(0.55, step)  # below the median 0.6
        stops.append(bool(trial.should_prune()))
    assert stops == [False, True, True]


def test_hyperband_knows_the_longest_trial_before_one_is_finished(params_of: Callable[..., Params]) -> None:
    tune = tune_of(pruner="hyperband", epochs=9, folds=[1, 2, 3])
    study = optuna.create_study(study_name="rungs", direction="maximize", pruner=pruner(params_of(), tune))
    running = [study.ask() for _ in range(12)]
    stops = []
    for score, trial in zip(range(12, 0, -1), running, strict=True):  # the best first, so that the others fall behind
        trial.report(score / 12, 1)
        stops.append(bool(trial.should_prune()))
    made = study.pruner
    assert isinstance(made, optuna.pruners.HyperbandPruner)
    assert made._n_brackets == 4  # 27 steps: rungs at 1, 3, 9 and 27
    assert any(stops)


@pytest.mark.parametrize("kind", ["median", "hyperband"])
def test_a_pruner_that_can_end_no_trial_is_warned_of(kind: str, params_of: Callable[..., Params]) -> None:
    tune = tune_of(pruner=kind, warmup_epochs=6, epochs=3, folds=[1, 2])
    with pytest.warns(UserWarning, match=rf"pruner {kind} has no effect, as warmup_epochs is 6 and a trial has 6"):
        check_pruner(params_of(), tune)
    study = optuna.create_study(direction="maximize", pruner=pruner(params_of(), tune))
    trial = study.ask()
    trial.report(0.5, 1)
    assert not trial.should_prune()
    check_pruner(params_of(), tune_of(pruner=kind, warmup_epochs=5, epochs=3, folds=[1, 2]))
    check_pruner(params_of(), tune_of(pruner="none", warmup_epochs=6, epochs=3, folds=[1, 2]))
