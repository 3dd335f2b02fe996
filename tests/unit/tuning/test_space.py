"""Tune files: what is refused, what is drawn, and that params.yaml's own values can be the first trial."""

from pathlib import Path

import pytest
from optuna.trial import FixedTrial

from pipeline.errors import ParamsError
from pipeline.tuning.space import Dimension, TuneFile, read_space, suggest, values

FILE = """
metric: iou.water
trials: 7
space:
  train.optimizer.lr: {low: 1e-4, high: 1e-2, log: true}
  train.batch_size: {choices: [4, 8]}
  train.loss.focal.gamma: {low: 0, high: 4, step: 0.1}
  train.network.encoder_depth: {low: 3, high: 5, int: true}
  train.loss.weights: {choices: [{dice: 1.0, focal: 0.0}, {dice: 0.0, focal: 1.0}]}
"""


def read(tmp_path: Path, text: str) -> TuneFile:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return read_space(file)


def test_a_file_is_read_as_yaml_1_2_and_named_by_itself(tmp_path: Path) -> None:
    tune = read(tmp_path, FILE)
    assert (tune.name, tune.metric, tune.metric_class, tune.trials) == ("mine", "iou.water", "water", 7)
    assert tune.space["train.optimizer.lr"].bounds == (1e-4, 1e-2)
    assert tune.space["train.network.encoder_depth"].bounds == (3, 5)
    assert isinstance(tune.space["train.network.encoder_depth"].bounds[0], int)
    assert read(tmp_path, f"name: other{FILE}").name == "other"


def test_what_is_drawn_is_what_params_yaml_is_given(tmp_path: Path) -> None:
    space = read(tmp_path, FILE).space
    drawn = {"train.optimizer.lr": 0.00123456789, "train.batch_size": 8, "train.loss.focal.gamma": 0.1 + 0.2,
             "train.network.encoder_depth": 4, "train.loss.weights": '{"dice": 0.0, "focal": 1.0}'}
    changes = {"train.optimizer.lr": 0.001235, "train.batch_size": 8, "train.loss.focal.gamma": 0.3,
               "train.network.encoder_depth": 4, "train.loss.weights": {"dice": 0.0, "focal": 1.0}}
    trial = FixedTrial(drawn)
    assert suggest(trial, space) == changes
    assert values(trial.params, space) == changes
    assert set(trial.distributions) == set(space)


def test_a_number_that_is_not_drawn_stays_as_it_is(tmp_path: Path) -> None:
    space = read(tmp_path, "space: {train.optimizer.lr: {low: 1e-4, high: 1e-2, log: true}}").space
    known = {"train.optimizer.lr": 0.00123456}
    assert suggest(FixedTrial(dict(known)), space, exact=True) == values(known, space, exact=True) == known
    assert suggest(FixedTrial(dict(known)), space) == {"train.optimizer.lr": 0.001235}


def test_the_longest_trial_there_can_be(tmp_path: Path) -> None:
    of_file = read(tmp_path, "epochs: 6\nfolds: [1, 2]\nspace: {train.batch_size: {low: 1, high: 2}}")
    assert (of_file.most_epochs(30), of_file.steps(30)) == (6, 12)
    of_params = read(tmp_path, "space: {train.batch_size: {low: 1, high: 2}}")
    assert (of_params.most_epochs(30), of_params.steps(30)) == (30, 30)
    searched = read(tmp_path, "folds: [2, 3, 4]\nspace: {train.epochs: {choices: [8, 20, 12]}}")
    assert (searched.most_epochs(30), searched.steps(30)) == (20, 60)


def test_rounding_stays_within_the_range() -> None:
    dimension = Dimension.model_validate({"low": 0.123456, "high": 0.123464})
    assert dimension.value(0.123464) == 0.123464
    assert dimension.value(0.12346) == 0.123464  # 0.1235 is above it


@pytest.mark.parametrize(("dimension", "present", "known"), [
    ({"low": 0, "high": 1}, 0.25, 0.25), ({"low": 0, "high": 1, "step": 0.25}, 0.75, 0.75),
    ({"low": 1, "high": 9, "int": True}, 3, 3), ({"choices": ["a", True]}, True, True),
    ({"choices": [[1, 2], [3, 4]]}, [3, 4], "[3, 4]")])
def test_present_values_are_known(dimension: dict[str, object], present: object, known: object) -> None:
    made = Dimension.model_validate(dimension)
    assert made.known(present) == known
    assert made.value(known) == present  # type: ignore[arg-type]


@pytest.mark.parametrize(("dimension", "present"), [
    ({"low": 0, "high": 1}, 1.5), ({"low": 0, "high": 1, "step": 0.25}, 0.3), ({"low": 0, "high": 1}, "much"),
    ({"low": 0, "high": 1}, True), ({"choices": [4, 8]}, 16)])
def test_values_outside_are_not(dimension: dict[str, object], present: object) -> None:
    with pytest.raises(ParamsError, match=r"it is (not within|none of)"):
        Dimension.model_validate(dimension).known(present)


def test_bounds_choices_and_something_between_are_tried() -> None:
    assert Dimension.model_validate({"low": 1, "high": 10, "int": True}).trying == (1, 10, 4)
    assert Dimension.model_validate({"low": 0, "high": 1, "step": 0.25}).trying == (0, 1, 0.5)
    log = Dimension.model_validate({"low": 1e-4, "high": 1e-2, "log": True}).trying
    assert log[:2] == (1e-4, 1e-2)
    assert 1e-4 < log[2] < 1e-3
    assert Dimension.model_validate({"choices": ["a", "b", "c"]}).trying == ("a", "b", "c")


@pytest.mark.parametrize(("text", "said"), [
    ("metric: mcc", "space: Field required"),
    ("space: {}", "space: Dictionary should have at least 1 item"),
    ("trails: 5\nspace: {train.epochs: {low: 1, high: 2}}", "trails is not a known key; did you mean 'trials'?"),
    ("space: {train.epochs: {lo: 1, high: 2}}", "space.train.epochs.lo is not a known key; did you mean 'low'?"),
    ("space: {train.epochs: {low: 1}}", "space.train.epochs: a key must have `low` and `high`, or `choices`"),
    ("space: {train.epochs: {low: 2, high: 2}}", "low must be below high: got 2 and 2"),
    ("space: {train.epochs: {low: 0, high: 2, log: true}}", "low must be above 0 with log: true"),
    ("space: {train.epochs: {low: 1, high: 2, log: true, step: 1}}", "step must be left out with log: true"),
    ("space: {train.epochs: {low: 1.5, high: 2, int: true}}", "must be whole numbers with int: true: got 1.5, 2, 0"),
    ("space: {train.epochs: {low: 1, high: 2, step: 0.3}}", "high must be reached from low in steps"),
    ("space: {train.epochs: {choices: [1]}}", "choices must be two or more"),
    ("space: {train.epochs: {choices: [1, 2, 1.0]}}", "choices must differ: got 1.0 twice"),
    ("space: {train.epochs: {choices: [1, 2], log: true}}", "choices must stand alone"),
    ("space: {train.epochs: {low: .inf, high: 2}}", "finite number"),
    ("space: {spatial_split.buffer_m: {low: 1, high: 2}}",
     "section train only, such as train.optimizer.lr: got 'spatial_split.buffer_m'; data would have to be rebuilt"),
    ("space: {seed: {low: 1, high: 2}}", "section train only"),
    ("space: {train.seeds: {choices: [[1], [2]]}}", "space must not have train.seeds: every trial"),
    ("space: {train.folds: {choices: [1, 5]}}", "space must not have train.folds: the tune file's `folds`"),
    ("space: {train.calibration: {choices: [{temperature: true}, {prior: true}]}}",
     "space must not have train.calibration.temperature: it changes probabilities"),
    ("space: {train.warm_start: {choices: [{uri: '', sha256: ''}, {uri: a, sha256: b}]}}",
     "space must not have train.warm_start.(uri|sha256): every trial starts from what params.yaml names"),
    ("space: {train.score_every: {choices: [1, 2]}}", "space must not have train.score_every: it may be above 1 only"),
    ("space: {train.loss.weights: {choices: [{dice: 1}, {dice: 0, focal: 1}]}}",
     r"space.train.loss.weights: all choices must set the same keys, .*: {'dice': 1} lacks train.loss.weights.focal; "
     "write it into every choice"),
    ("space: {train.patches: {choices: [{size_px: 64}, {sampling: {name: random}}]}}", "lacks train.patches.samp"),
    ("epochs: 3\nspace: {train.epochs: {low: 1, high: 2}}", "epochs must be left out where space has train.epochs"),
    ("metric: f1.water\nspace: {train.epochs: {low: 1, high: 2}}", "metric must be mcc, macro_iou, or the iou"),
    ("folds: [1, 1]\nspace: {train.epochs: {low: 1, high: 2}}", r"folds must differ: got \[1, 1\]"),
    ("name: a/b\nspace: {train.epochs: {low: 1, high: 2}}", "name: String should match pattern"),
    ("trials: 0\nspace: {train.epochs: {low: 1, high: 2}}", "trials: Input should be greater than or equal to 1"),
    ("- 1", "the file: Input should be a valid dictionary"),
    ("a: [", "mine.yaml must be YAML 1.2"),
])
def test_broken_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ParamsError, match=f"mine.yaml.*{said}" if "mine.yaml" not in said else said):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"none\.yaml is none; see docs/experiments.md and recipes/tune/"):
        read_space(tmp_path / "none.yaml")


def test_trials_of_another_space_are_refused(tmp_path: Path) -> None:
    space = read(tmp_path, "space: {train.batch_size: {choices: [4, 8]}}").space
    with pytest.raises(ParamsError, match=r"train\.epochs is only in one of them"):
        values({"train.batch_size": 4, "train.epochs": 3}, space)
    with pytest.raises(ParamsError, match=r"one of the choices \[4, 8\]: got 16"):
        values({"train.batch_size": 16}, space)
