"""A trial's score: of inner folds only, the same whenever and wherever it is computed."""

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.digests import file_sha256, folder_sha256
from pipeline.errors import ModelError, ParamsError
from pipeline.geo import raster_io
from pipeline.metrics.confusion import Confusion
from pipeline.networks.members import save_member
from pipeline.networks.segmenter import build
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.patches.batch import collate
from pipeline.paths import Paths
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.training import engine
from pipeline.training.prepare import prepare
from pipeline.tuning import objective as objectives
from pipeline.tuning import trial as trials
from pipeline.tuning.inner import inner_split
from pipeline.tuning.objective import score_of
from pipeline.tuning.trial import FoldResult
from tests.unit.tuning.tuning_setup import CLASSES, objective_of, params_of, trial, tune_of


@pytest.fixture(autouse=True)
def _as_before():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def root(tiny_data, tmp_path):
    """A project's folder with the tiny store: fold 0 is val, 1 and 2 train."""
    tiny_data("tiny/data", buffer_m=20)
    return tmp_path / "tiny"


def test_neither_the_outer_val_fold_nor_test_ground_has_a_say(tiny_data, tmp_path):
    found = []
    for name, seed in (("a", None), ("b", 1), ("c", 2)):
        tiny_data(f"{name}/data", held_out_garbage=seed, buffer_m=20)
        found.append(repr(trial(objective_of(tmp_path / name, folds=[1, 2]))))
    assert found[0] == found[1] == found[2]


def test_the_inner_val_fold_has_no_say_in_training_but_all_in_the_score(root):
    before = _digest(root), trial(objective_of(root))[0].score
    split = Split.open(root / "data/splits")
    inner = split.mask(split.fold_map("one"), "train") & (split.fold_map("one") == 1)
    for file, noise in (("image", 9000), ("labels", 3)):
        path = root / f"data/scenes/one/{file}.tif"
        values, described = np.array(raster_io.memory_map(path)), raster_io.describe(path)
        values[inner] = np.random.default_rng(1).integers(0, noise, values[inner].shape)
        raster_io.write(path, values, described.grid, described.bands)
    assert _digest(root) == before[0]
    assert trial(objective_of(root))[0].score != before[1]


def _digest(root):
    """Of everything a trial with inner fold 1 learns from: the first patches, statistics and class weights."""
    params, split = params_of(), Split.open(root / "data/splits")
    train, task = params.section(TrainParams), params.section(Task)
    ready = prepare(SceneStore.open(root / "data/scenes"), inner_split(split, 1, Paths(root)), task, train, 5)
    batch = collate([ready.source.draw(epoch, i) for epoch in range(2) for i in range(16)])
    arrays = [tensor.numpy().tobytes() for tensor in (batch.image(), *batch.targets())]
    return repr((ready.spec.mean, ready.spec.std, ready.spec.low, ready.class_weights_K.tolist(), ready.counts,
                 [hashlib.sha256(array).hexdigest() for array in arrays]))


def test_the_same_settings_have_the_same_score_whatever_was_before_and_in_another_process(root):
    objective = objective_of(root)
    first = trial(objective)
    trial(objective, stop_at=2, lr=0.05)
    torch.manual_seed(77)
    np.random.seed(77)
    again = trial(objective)
    assert repr(first) == repr(again)
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("tuning_setup.py")), str(root)], check=True,
                          env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True)
    result, reported = first
    told = json.loads(done.stdout)
    assert told == [result.score, [[1, result.fold_scores[1]]], 3, [list(pair) for pair in reported]]
    assert trial(objective, lr=0.05)[0].score != result.score


def test_the_chosen_epoch_is_scored(root):
    best, told = trial(objective_of(root, {"monitor": "macro_iou"}, metric="macro_iou"))
    assert [step for step, _ in told] == [1, 2, 3]
    assert best.score == best.fold_scores[1] == max(score for _, score in told)
    last, told = trial(objective_of(root, {"select": "last", "score_every": 2, "monitor": "macro_iou"},
                                    metric="macro_iou"))
    assert [step for step, _ in told] == [2, 3]
    assert (last.score, last.epochs) == (told[-1][1], 3)


def test_a_trial_stops_when_told(root):
    found, told = trial(objective_of(root), stop_at=2)
    assert (found.pruned, found.epochs, found.fold_scores) == (True, 2, {})
    assert [step for step, _ in told] == [1, 2]
    assert found.score == told[-1][1]


def test_folds_are_merged_and_their_epochs_counted_on(root, monkeypatch):
    # Of the class settlement: fold 1 finds 30 of 40 with 10 wrong (0.6), fold 2 all 50 (1): 80 of 100 together.
    counts = {1: Confusion(np.array([[50, 10, 0], [10, 30, 0], [0, 0, 5]])),
              2: Confusion(np.array([[50, 0, 0], [0, 50, 0], [0, 0, 5]]))}
    poor = Confusion(np.array([[50, 0, 0], [100, 0, 0], [0, 0, 5]]))

    def fold(params, store, inner, told):
        assert not told(1, poor)
        assert not told(2, counts[inner.member.fold])
        return FoldResult(counts[inner.member.fold], 2)

    monkeypatch.setattr(objectives, "train_fold", fold)
    found, told = trial(objective_of(root, folds=[1, 2], metric="iou.settlement"))
    assert found.fold_scores == {1: 0.6, 2: 1.0}
    assert (found.score, found.epochs) == (0.8, 4)
    # While fold 2 is poor: 30 of 150.
    assert told == [(1, 0.0), (2, 0.6), (4, 0.2), (5, 0.8)]


def test_a_step_means_the_same_fold_whatever_the_length_of_a_trial(root, monkeypatch):
    def fold(params, store, inner, told):
        told(1, Confusion.empty(3))
        return FoldResult(Confusion.empty(3), 1)

    monkeypatch.setattr(objectives, "train_fold", fold)
    objective = objective_of(root, folds=[1, 2], epochs=None, space={"train.epochs": {"choices": [3, 7]}})
    steps = [[step for step, _ in trial(objective, **{"train.epochs": epochs})[1]] for epochs in (3, 7)]
    assert steps == [[1, 8], [1, 8]]


def test_what_one_settings_loss_comes_to_ends_no_study(root):
    objective = objective_of(root)
    before = trial(objective)
    with pytest.raises(ModelError, match="must stay finite"):
        trial(objective, lr=1e30)
    assert repr(trial(objective)) == repr(before)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"),
                                   torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")])
def test_memory_that_does_not_suffice_is_a_reason(root, monkeypatch, error):
    monkeypatch.setattr(trials.engine, "train_network", lambda *_: _raise(error))
    with pytest.raises(ModelError, match=r"a trial must fit the memory.*narrow train.batch_size"):
        trial(objective_of(root))


def test_other_errors_are_defects(root, monkeypatch):
    monkeypatch.setattr(trials.engine, "train_network", lambda *_: _raise(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        trial(objective_of(root))


def _raise(error):
    raise error


def test_settings_that_break_the_schema_between_the_corners_fail_their_trial(root):
    with pytest.raises(ParamsError, match=r"per_epoch must be a multiple of batch_size=8: got 12"):
        trial(objective_of(root), **{"train.patches.per_epoch": 12})


def test_the_tune_files_epochs_and_threads_are_those_of_a_trial(root, monkeypatch):
    seen = []
    inner = engine.open_fabric
    monkeypatch.setattr(trials.engine, "open_fabric", lambda train: (seen.append(train), inner(train))[1])
    train = {"threads": 2, "seeds": [9, 8], "calibration": {"temperature": True}}
    found, _ = trial(objective_of(root, train, epochs=1, threads=1))
    assert found.epochs == 1
    assert (seen[0].epochs, seen[0].threads, seen[0].seeds, seen[0].calibration.temperature) == (1, 1, (), False)
    assert found.score == trial(objective_of(root, {"seeds": [9]}, epochs=1))[0].score
    assert found.score != trial(objective_of(root, {"seeds": [8]}, epochs=1))[0].score


def test_several_devices_are_refused(root):
    with pytest.raises(ModelError, match=r"a trial must be trained on one device: got train.devices=2"):
        objective_of(root, {"devices": 2})


def start(root, split, fold):
    """A member's folder to start from, trained on a split with a fold held out; as section warm_start names it."""
    params = params_of()
    ready = prepare(SceneStore.open(root / "data/scenes"), Split.open(root / "data/splits"),
                    params.section(Task), params.section(TrainParams), 5)
    folder = root / "start"
    folder.mkdir()
    save_member(folder, build(ready.spec.model_copy(update={"split": split, "val_fold": fold})), "epoch\n1\n")
    return {"warm_start": {"uri": "start", "sha256": file_sha256(folder / "weights.safetensors")}}


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_a_start_that_has_learnt_from_this_split_is_refused(root, fold):
    with pytest.raises(ModelError, match=r"must not have learnt from"):
        objective_of(root, start(root, folder_sha256(root / "data/splits"), fold))


def test_a_start_of_other_data_is_what_a_trial_starts_from(root):
    warm = start(root, "0" * 64, 0)
    found = trial(objective_of(root, warm))[0]
    assert found.score != trial(objective_of(root))[0].score


def test_undefined_scores_are_no_skill():
    only_one = Confusion(np.array([[5, 0, 0], [5, 0, 0], [0, 0, 0]]))
    assert math.isnan(objectives.mcc(only_one))
    assert score_of(only_one, "mcc", CLASSES) == 0
    assert score_of(only_one, "iou.background", CLASSES) == 0.5
    assert score_of(only_one, "macro_iou", CLASSES) == 0.25


def test_a_corner_that_breaks_the_schema_is_told_before_the_first_trial(root):
    with pytest.raises(ParamsError, match=r"tiny: space.train.ema_decay: 1.0: "):
        objective_of(root, space={"train.ema_decay": {"low": 0.0, "high": 1.0}})
    assert tune_of().direction == "maximize"
