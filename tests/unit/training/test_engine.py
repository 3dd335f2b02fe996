"""Training repeats byte for byte, resumes exactly after a kill, and never sees held-out pixels."""

import dataclasses
import hashlib
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from affine import Affine

from pipeline.errors import ModelError, SceneError
from pipeline.features.channels import ChannelRecipe
from pipeline.inference.validation import ValScorer
from pipeline.networks.segmenter import build
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.patches.batch import collate
from pipeline.seeding import seed_everything
from pipeline.training import engine
from pipeline.training.check import CheckResult, overfit_one_batch
from pipeline.training.optimizer import build_optimizer
from pipeline.training.prepare import prepare
from pipeline.training.ranks import Ranks
from pipeline.training.resume import open_resume
from pipeline.training.step import Launched, Stepper
from pipeline.types import SilentLog

TASK = Task.model_validate({"bands": ["blue", "green", "red", "nir"], "background": "background", "classes": [
    {"name": n, "color": "#102030"} for n in ("background", "settlement", "water")]})
TEXTURE = Task.model_validate({**TASK.model_dump(), "channels": ["nir", "NDVI", "glcm_entropy_red"],
                               "texture": {"window_px": 5, "levels": 8}})
SMALL = {"network": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}, "patches": {"size_px": 32, "per_epoch": 8},
         "batch_size": 4, "epochs": 3, "threads": 1, "accelerator": "cpu"}


def train(data, root, score=None, log=None, task=TASK, **changes):
    params = TrainParams.model_validate({**SMALL, **changes})
    fabric = engine.open_fabric(params)
    seed_everything(5)
    ready = prepare(data.store, data.split, task, params, seed=5)
    score = score or ValScorer(data.store, data.split, ready.spec.recipe, 8, ready.spec.size_multiple)
    with open_resume(root, "print") as resume:
        return engine.train_network(fabric, ready.spec, ready.source, ready.class_weights_K, params, score, resume,
                                    log or SilentLog())


def digest(trained):
    state = trained.segmenter.state_dict()
    return hashlib.sha256(b"".join(state[k].numpy().tobytes() for k in sorted(state))).hexdigest()


@pytest.fixture(scope="module")
def deterministic():
    yield
    torch.use_deterministic_algorithms(False)


pytestmark = pytest.mark.usefixtures("deterministic")


def test_equal_seeds_give_equal_weights_and_history(tiny_data, tmp_path):
    data = tiny_data()
    first, second = train(data, tmp_path / "a"), train(data, tmp_path / "b")
    assert digest(first) == digest(second)
    assert engine.history_csv(first.history) == engine.history_csv(second.history)
    assert digest(first) != digest(train(data, tmp_path / "c", optimizer={"lr": 2e-3}))


def test_a_killed_training_resumes_to_the_same_bytes(tiny_data, tmp_path):
    data = tiny_data()
    whole = train(data, tmp_path / "whole")

    class Killed(Exception):
        pass

    class KillInEpochTwo(SilentLog):
        def metrics(self, values, step=0):
            if step == 2:
                raise Killed

    with pytest.raises(Killed):
        train(data, tmp_path / "cut", log=KillInEpochTwo())
    assert (tmp_path / "cut/print/state.pt").exists()
    resumed = train(data, tmp_path / "cut")
    assert digest(resumed) == digest(whole)
    assert engine.history_csv(resumed.history) == engine.history_csv(whole.history)
    assert not (tmp_path / "cut/print").exists()


def test_an_epoch_is_told_once_it_is_saved(tiny_data, tmp_path):
    """A kill while the state is saved, which takes time, then has no epoch told twice."""
    saved = []

    class Watch(SilentLog):
        def metrics(self, values, step=0):
            saved.append((step, torch.load(tmp_path / "run/print/state.pt", weights_only=True)["progress"]["epoch"]))

    train(tiny_data(), tmp_path / "run", log=Watch(), epochs=2, save_every_s=0)
    assert saved == [(1, 1), (2, 2)]


@pytest.mark.parametrize("task", [TASK, TEXTURE], ids=["bands", "texture"])
def test_garbage_in_held_out_ground_changes_no_weight(tiny_data, tmp_path, task):
    # With select: last the val part has no say, so that every byte must come from the train part.
    clean, garbage = tiny_data("clean"), tiny_data("garbage", held_out_garbage=3)
    one = train(clean, tmp_path / "a", task=task, select="last")
    two = train(garbage, tmp_path / "b", task=task, select="last")
    assert digest(one) == digest(two)
    assert one.segmenter.spec == two.segmenter.spec.model_copy(update={"split": one.segmenter.spec.split})
    assert [r["val_mcc"] for r in one.history] != [r["val_mcc"] for r in two.history]


def test_workers_change_no_weight(tiny_data, tmp_path):
    data = tiny_data()
    one, two = train(data, tmp_path / "a", epochs=2), train(data, tmp_path / "b", epochs=2, workers=1)
    assert digest(one) == digest(two)


def test_accumulation_changes_memory_not_the_loss(tiny_data, tmp_path):
    data = tiny_data()
    whole = train(data, tmp_path / "a", epochs=1)
    parts = train(data, tmp_path / "b", epochs=1, accumulation=2)
    # The first loss is of equal weights on equal patches; batch norm alone sees other batches.
    assert parts.history[0]["train_loss"] == pytest.approx(whole.history[0]["train_loss"], rel=0.2)


def test_the_best_epoch_is_chosen_by_val_score(tiny_data, tmp_path):
    data = tiny_data()
    scores = iter([0.2, 0.9, math.nan, 0.5])

    def score(segmenter):
        return {"mcc": next(scores)}

    seen = []

    class Keep(SilentLog):
        def metrics(self, values, step=0):
            seen.append((step, values["val_mcc"]))

    trained = train(data, tmp_path / "a", score=score, log=Keep(), epochs=4)
    assert trained.best_epoch == 2
    assert [s for s, _ in seen] == [1, 2, 3, 4]


def test_early_stop_counts_epochs_without_a_better_score(tiny_data, tmp_path):
    data = tiny_data()
    trained = train(data, tmp_path / "a", score=lambda s: {"mcc": 0.3}, epochs=9, early_stop_patience=2)
    assert len(trained.history) == 3


def test_of_equal_scores_the_later_epoch_is_chosen(tiny_data, tmp_path):
    scores = iter([0.0, 0.0, math.nan])
    assert train(tiny_data(), tmp_path / "a", score=lambda s: {"mcc": next(scores)}).best_epoch == 2


def test_a_loss_that_is_not_finite_names_the_patches(tiny_data, tmp_path):
    with pytest.raises(ModelError, match=r"must stay finite: got (nan|inf) on patches \['one row"):
        train(tiny_data(), tmp_path / "a", optimizer={"lr": 1e30, "clip_norm": 0}, schedule={"warmup_epochs": 0},
              epochs=9)


def test_what_is_not_finite_is_named_with_its_windows():
    launched = Launched(2, 4, (("a row 1 col 2",), ("b row 3 col 4",)), torch.zeros(3), None)
    assert launched.complaint([0.5, 0.5, 1.0]) == ""
    assert launched.complaint([0.5, math.nan, math.nan]).startswith(
        "the training loss must stay finite: got nan on patches ['b row 3 col 4'] in epoch 3, step 5; lower")
    assert launched.complaint([0.5, 0.5, math.inf]).startswith(
        "the training gradients must stay finite: got inf on patches ['a row 1 col 2', 'b row 3 col 4'] in epoch 3")


def test_shares_of_the_classes_are_those_of_the_patches_drawn(tiny_data, tmp_path):
    data = tiny_data()
    row = train(data, tmp_path / "a", epochs=1).history[0]
    ready = prepare(data.store, data.split, TASK, TrainParams.model_validate(SMALL), seed=5)
    labels = collate([ready.source.draw(0, i) for i in range(8)]).targets()[0]
    for i, name in enumerate(("background", "settlement", "water")):
        assert row[f"share_{name}"] == pytest.approx(float((labels == i).sum() / (labels != 255).sum()))


def test_with_an_average_it_is_the_average_that_is_scored_and_kept(tiny_data, tmp_path):
    seen = []

    def score(segmenter):
        seen.append({k: v.clone() for k, v in segmenter.state_dict().items()})
        return {"mcc": 0.5}

    data = tiny_data()
    trained = train(data, tmp_path / "a", score=score, ema_decay=0.9)
    assert all(torch.equal(value, seen[-1][name]) for name, value in trained.segmenter.state_dict().items())
    assert digest(trained) != digest(train(data, tmp_path / "b", score=score))


def test_one_device_trains_in_the_precision_asked_for(tiny_data, tmp_path, monkeypatch):
    seen = []

    def watched(spec):
        segmenter = build(spec)
        segmenter.body.decoder.register_forward_hook(lambda module, _, out: seen.append((module.training, out.dtype)))
        return segmenter

    monkeypatch.setattr("pipeline.training.start.build", watched)
    train(tiny_data(), tmp_path / "a", epochs=1, precision="bf16-mixed")
    assert {dtype for training, dtype in seen if training} == {torch.bfloat16}


@pytest.mark.parametrize(("change", "message"), [
    ({"accelerator": "cuda"}, "train.accelerator and train.devices must name devices"),
    ({"precision": "16-mixed", "accelerator": "auto"}, "16-mixed needs a GPU"),
])
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the test asks in vain")
@pytest.mark.filterwarnings("ignore:You passed")
def test_devices_that_are_not_there_are_refused(change, message):
    with pytest.raises(ModelError, match=message):
        engine.open_fabric(TrainParams.model_validate({**SMALL, **change}))


def test_scenes_of_different_pixel_size_are_refused(tiny_data):
    data = tiny_data()
    scene = data.store.scenes[0]
    grid = dataclasses.replace(scene.grid, transform=Affine(30, 0, 7e5, 0, -30, 9.3e6))
    coarse = dataclasses.replace(scene, id="two", grid=grid)
    store = dataclasses.replace(data.store, scenes=(scene, coarse))
    with pytest.raises(SceneError, match=r"pixels of one size: got one 10 m, two 30 m"):
        prepare(store, data.split, TASK, TrainParams.model_validate(SMALL), seed=0)


def test_a_pickled_scene_leaves_its_pixels_behind(tiny_data):
    scene = tiny_data().store.scenes[0]
    assert scene.image.nbytes > 90000
    assert len(pickle.dumps(scene)) < 5000


def test_two_trainings_cannot_share_a_resume_state(tmp_path):
    with open_resume(tmp_path, "same"), pytest.raises(ModelError, match="another process holds it"), \
            open_resume(tmp_path, "same"):
        pass


def test_the_network_learns_what_pixels_give_away(tiny_data, tmp_path):
    trained = train(tiny_data(), tmp_path / "a", epochs=10, patches={"size_px": 32, "per_epoch": 32},
                    optimizer={"lr": 5e-3})
    assert max(r["val_mcc"] for r in trained.history) > 0.8


def test_history_leaves_undefined_scores_empty():
    assert engine.history_csv([{"epoch": 1, "val_mcc": math.nan}, {"epoch": 2, "val_mcc": 1 / 3}]) == (
        "epoch,val_mcc\n1,\n2,0.3333333\n")


def test_overfit_check_passes_for_a_sound_setup_and_fails_for_a_lame_one(tiny_data):
    data = tiny_data()
    params = TrainParams.model_validate({**SMALL, "loss": {"class_weights": "none"}})
    seed_everything(1)
    ready = prepare(data.store, data.split, TASK, params, seed=1)
    assert overfit_one_batch(ready.spec, ready.source, ready.class_weights_K, params, steps=120).passed
    lame = params.model_copy(update={"optimizer": params.optimizer.model_copy(update={"lr": 1e-9})})
    assert not overfit_one_batch(ready.spec, ready.source, ready.class_weights_K, lame, steps=5).passed
    assert not CheckResult(1.0, 0.1, 0.9).passed


def test_model_json_has_the_statistics_of_channels_and_the_ranges_of_bands(tiny_data):
    data = tiny_data()
    params = TrainParams.model_validate(SMALL)
    plain, ready = (prepare(data.store, data.split, task, params, seed=0).spec for task in (TASK, TEXTURE))
    assert ready.recipe == ChannelRecipe.of(TEXTURE)
    assert (ready.band_low, ready.band_high) == (plain.low, plain.high) == (plain.band_low, plain.band_high)
    assert ready.mean[0] == pytest.approx(plain.mean[3])
    assert -1 <= ready.low[1] < ready.mean[1] < ready.high[1] <= 1


def test_statistics_and_weights_come_from_train_pixels(tiny_data):
    data = tiny_data()
    ready = prepare(data.store, data.split, TASK, TrainParams.model_validate(SMALL), seed=0)
    fold = data.split.fold_map("one")
    pixels = data.store.scenes[0].image[((fold == 1) | (fold == 2)) & (data.store.scenes[0].valid == 1)]
    assert ready.spec.mean == pytest.approx(pixels.astype(np.float64).mean(axis=0))
    labelled = (data.store.scenes[0].labels != 255) & (data.store.scenes[0].valid == 1)
    assert sum(ready.counts.values()) == int((labelled & ((fold == 1) | (fold == 2))).sum())


def test_a_gpus_importance_is_counted_on_the_host_by_class(tiny_data):
    data = tiny_data()
    params = TrainParams.model_validate(SMALL)
    ready = prepare(data.store, data.split, TASK, params, seed=0)
    batch = collate([ready.source.draw(0, i) for i in range(4)])
    fabric = engine.open_fabric(params)
    model, optimizer = fabric.setup(build(ready.spec), build_optimizer(build(ready.spec), params.optimizer))
    stepper = Stepper(fabric, Ranks(fabric), model, optimizer, params, ready.class_weights_K, ready.spec.classes)
    exact = stepper.importance(batch)
    assert stepper.importance(batch, by_class=True) == pytest.approx(exact)
    assert exact > 0


def stepper_with(scale):
    scaler = None if scale is None else SimpleNamespace(get_scale=lambda: scale)
    stepper = object.__new__(Stepper)
    stepper._fabric = SimpleNamespace(strategy=SimpleNamespace(precision=SimpleNamespace(scaler=scaler)))
    return stepper


def test_a_scaler_that_leaves_out_all_steps_is_not_silent():
    for scale in (None, 65536.0, 1.0):
        stepper_with(scale).check_scale()
    with pytest.raises(ModelError, match="gradients must stay finite for most steps"):
        stepper_with(2.0**-9).check_scale()


def test_val_is_scored_as_often_as_asked_and_after_the_last_epoch(tiny_data, tmp_path):
    scored = []

    def score(segmenter):
        scored.append(len(scored))
        return {"mcc": 0.5, "macro_iou": 0.5}

    trained = train(tiny_data(), tmp_path / "a", score=score, epochs=5, score_every=2, select="last")
    assert ["val_mcc" in row for row in trained.history] == [False, True, False, True, True]
    assert len(scored) == 3
    header, first, second, *_ = engine.history_csv(trained.history).splitlines()
    assert header.endswith("val_mcc,val_macro_iou")
    assert first.endswith(",,")
    assert second.endswith(",0.5,0.5")


def test_val_scores_that_decide_are_not_left_out():
    with pytest.raises(ValueError, match="score_every must be 1 where val scores choose"):
        TrainParams.model_validate({**SMALL, "score_every": 2})
