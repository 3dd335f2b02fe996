"""What a training starts from follows the params, and nothing of it comes from held-out ground."""

import math
import pickle

import numpy as np
import pytest

from pipeline.errors import SplitError
from pipeline.features.channels import ChannelRecipe
from pipeline.geo import raster_io
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.patches.batch import collate
from pipeline.training.prepare import prepare
from tests.unit.patches.samples import digest

CLASSES = ("background", "settlement", "water")
TASK = Task.model_validate({"bands": ["blue", "green", "red", "nir"], "background": "background", "classes": [
    {"name": n, "color": "#102030"} for n in CLASSES]})
SMALL = {"network": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}, "batch_size": 4, "accelerator": "cpu"}
BALANCED = {"name": "balanced", "composition": {"water": 0.5}, "composition_of": "pixels",
            "interface": ["water", "settlement"], "interface_share": 0.2}


def ready(data, seed=5, task=TASK, loss="none", prior=False, **patches):
    params = TrainParams.model_validate({**SMALL, "patches": {"size_px": 32, "per_epoch": 8, **patches},
                                         "loss": {"class_weights": loss}, "calibration": {"prior": prior}})
    params.check(task)
    return prepare(data.store, data.split, task, params, seed)


def met(drawn):
    """Shares of pixels as the loss meets them: of the tiny store's settlement half."""
    weight = np.asarray(drawn) * [1, 0.5, 1]
    return weight / weight.sum()


def shares(source, draws=800):
    total = np.zeros(256, int)
    for index in range(draws):
        total += np.bincount(collate([source.draw(0, index)]).raw_labels_NHW.numpy().ravel(), minlength=256)
    return total[:3] / total[:3].sum()


def even(data, water=1.0):
    """The tiny store with equal weights, but for water's."""
    scene = data.store.scenes[0]
    weight = np.where(raster_io.read(scene.folder / "labels.tif") == 2, water, 1).astype(np.float32)
    raster_io.write(scene.folder / "weight.tif", weight, scene.grid, ["weight"])
    return data


def test_defaults_draw_uniformly_and_correct_nothing(tiny_data):
    found = ready(tiny_data(), loss="inverse_sqrt")
    assert (found.spec.logit_bias, found.spec.temperature) == ((), 1.0)
    assert (found.spec.seed, found.spec.val_fold) == (5, 0)
    assert list(found.sampling) == ["train", "expected"]
    assert found.sampling["train"] == pytest.approx(found.sampling["expected"], abs=0.02)
    assert found.sampling["train"]["water"] == pytest.approx(found.counts["water"] / sum(found.counts.values()),
                                                             abs=1e-5)


def test_patches_come_as_the_sampling_says(tiny_data):
    found = ready(tiny_data(), sampling=BALANCED)
    assert found.sampling["target"] == {"background": 0.25, "settlement": 0.25, "water": 0.5}
    assert found.sampling["draws"]["water|settlement"] == 0.2
    assert shares(found.source) == pytest.approx(list(found.sampling["expected"].values()), abs=0.03)
    assert found.sampling["expected"]["water"] > found.sampling["train"]["water"] + 0.02


def test_the_bias_is_of_the_labels_over_what_is_drawn_and_weighed(tiny_data):
    found = ready(tiny_data(), prior=True, sampling={"name": "balanced", "composition": {"water": 0.6}})
    train, drawn = ([found.sampling[part][name] for name in CLASSES] for part in ("train", "expected"))
    assert found.spec.logit_bias == pytest.approx([math.log(t / m) for t, m in zip(train, met(drawn), strict=True)],
                                                  abs=1e-4)
    assert found.spec.logit_bias[2] < -0.05
    # The lattice shows the labels as they are, but rare classes weigh more: the bias takes the weights out, up to a
    # constant.
    grid = {"name": "grid"}
    weighed = ready(tiny_data("other"), prior=True, loss="inverse", sampling=grid)
    bias = np.array(weighed.spec.logit_bias) + np.log(weighed.class_weights_K * [1, 0.5, 1])
    assert np.ptp(bias) == pytest.approx(0, abs=1e-9)
    assert np.ptp(weighed.spec.logit_bias) > 0.05
    with pytest.warns(UserWarning, match=r"calibration\.prior has no effect: neither sampling nor weights"):
        assert ready(even(tiny_data("third")), prior=True, sampling=grid).spec.logit_bias == ()


def test_the_bias_takes_out_the_weights_of_pixels_too(tiny_data):
    """Water weighs a quarter of the others on the ground of the first, so it is met four times as rarely."""
    light, alike = even(tiny_data("light"), water=0.25), even(tiny_data("alike"))
    found = np.array(ready(light, prior=True, sampling={"name": "grid"}).spec.logit_bias)
    assert found - found[0] == pytest.approx([0, 0, math.log(4)])
    # Pasted pixels bring their weights along.
    paste = {"copy_paste": 1.0, "copy_paste_classes": ["water"]}
    for patches in ({"sampling": {"name": "balanced", "composition": {"water": 0.6}}}, {"augmentation": paste}):
        one, other = (np.array(ready(data, prior=True, **patches).spec.logit_bias) for data in (light, alike))
        assert one - other - (one - other)[0] == pytest.approx([0, 0, math.log(4)], abs=1e-6)


def test_pasted_classes_count_among_those_drawn(tiny_data):
    paste = {"copy_paste": 1.0, "copy_paste_classes": ["water"]}
    found = ready(tiny_data(), prior=True, augmentation=paste)
    drawn = shares(found.source)
    assert drawn[2] > found.sampling["expected"]["water"] + 0.1
    expected = np.log([found.sampling["train"][name] for name in CLASSES]) - np.log(met(drawn))
    assert found.spec.logit_bias == pytest.approx(expected, abs=0.05)


def test_the_bias_minds_what_is_pasted(tiny_data):
    pasting = {"copy_paste": 0.9, "copy_paste_classes": ["water"]}
    found = ready(tiny_data(), prior=True, augmentation=pasting)
    train = np.array([found.sampling["train"][name] for name in CLASSES])
    assert found.spec.logit_bias == pytest.approx(np.log(train / met(shares(found.source))), abs=0.05)
    assert found.spec.logit_bias[2] < -0.2


@pytest.mark.filterwarnings("ignore:classes are rebalanced 2 times over")
@pytest.mark.parametrize("patches", [
    {"sampling": BALANCED}, {"sampling": {"name": "grid"}},
    {"sampling": {"name": "random", "interface": ["water", "settlement"], "interface_share": 0.5}},
    {"sampling": BALANCED, "augmentation": {"brightness": 0.5, "rotate_deg": 20, "cutmix": 0.5, "copy_paste": 0.5,
                                            "copy_paste_classes": ["water"]}},
], ids=["balanced", "grid", "interface", "augmented"])
def test_garbage_in_held_out_ground_changes_nothing_that_training_starts_from(tiny_data, patches):
    clean, garbage = tiny_data("clean", buffer_m=25.0), tiny_data("garbage", held_out_garbage=1, buffer_m=25.0)
    one, two = (ready(d, prior=True, loss="inverse", **patches) if patches["sampling"]["name"] != "balanced"
                else ready(d, prior=True, **patches) for d in (clean, garbage))
    assert one.spec.model_copy(update={"split": ""}) == two.spec.model_copy(update={"split": ""})
    assert one.spec.logit_bias
    assert (one.counts, one.sampling) == (two.counts, two.sampling)
    assert one.class_weights_K.tolist() == two.class_weights_K.tolist()
    assert [digest(one.source.draw(1, i)) for i in range(40)] == [digest(two.source.draw(1, i)) for i in range(40)]


def test_members_differ_in_their_draws(tiny_data):
    data = tiny_data()
    one, two = ready(data, seed=1), ready(data, seed=2)
    assert [one.source.draw(0, i).window for i in range(9)] != [two.source.draw(0, i).window for i in range(9)]
    assert (one.spec.seed, two.spec.seed) == (1, 2)
    assert one.spec.mean == two.spec.mean


def test_several_rebalancings_warn(tiny_data):
    with pytest.warns(UserWarning, match=r"rebalanced 2 times over, by train.patches.sampling.name: balanced and "
                                         r"train.loss.class_weights: inverse_sqrt: .* switch off the others"):
        ready(tiny_data(), loss="inverse_sqrt", sampling={"name": "balanced"})


def test_augmented_patches_are_drawn_alike_wherever_they_are_drawn(tiny_data):
    augmentation = {"noise": 0.5, "shift": 0.2, "copy_paste": 0.9, "copy_paste_classes": ["water"]}
    found, plain = ready(tiny_data("a"), augmentation=augmentation), ready(tiny_data("b"))
    copied = pickle.loads(pickle.dumps(found.source))
    assert digest(found.source.draw(2, 3)) == digest(copied.draw(2, 3))
    assert digest(found.source.draw(2, 3)) != digest(plain.source.draw(2, 3))
    # What is pasted is around water.
    assert shares(found.source, 100)[2] > shares(plain.source, 100)[2] + 0.1


def test_values_are_changed_by_the_statistics_of_bands_whatever_the_channels(tiny_data):
    """Brightness moves a band by up to so many of its own standard deviations, also where only an index is seen."""
    task = Task.model_validate({**TASK.model_dump(), "channels": ["nir", "NDVI"]})
    data = tiny_data()
    plain, changed = (ready(data, task=task, augmentation=a) for a in ({}, {"brightness": 1.0}))
    assert plain.spec.band_low == ready(data).spec.low
    nir = plain.spec.std[0]
    moved = []
    for index in range(60):
        before, after = (collate([r.source.draw(0, index)]).image()[0, 0] for r in (plain, changed))
        moved.append(float((after - before).nanmean()) / nir)
    assert max(np.abs(moved)) <= 1.001
    assert max(moved) > 0.7
    assert min(moved) < -0.7
    assert ChannelRecipe.of(task).channels == plain.spec.channels


def test_classes_to_paste_must_have_train_pixels(tiny_data):
    data = tiny_data()
    path = data.store.scenes[0].folder / "labels.tif"
    labels = raster_io.read(path)
    raster_io.write(path, np.where(labels == 2, 0, labels).astype(np.uint8), data.store.scenes[0].grid, ["class"])
    with pytest.raises(SplitError, match=r"copy_paste_classes must be classes .* got \['water'\], of which some have"):
        ready(data, augmentation={"copy_paste": 0.5, "copy_paste_classes": ["water"]})
