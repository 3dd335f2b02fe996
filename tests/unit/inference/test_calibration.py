"""The temperature minimizes the likelihood on val, is part of the exported graph, and never sees test ground."""

import json
import math

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from pipeline.errors import ModelError
from pipeline.exporters.onnx_model import export_onnx
from pipeline.features.channels import ChannelRecipe
from pipeline.geo import raster_io
from pipeline.inference import calibration
from pipeline.inference.calibration import (
    calibrate,
    expected_calibration_error,
    log_softmax,
    negative_log_likelihood,
    temperature,
)
from pipeline.inference.validation import ValScorer
from pipeline.networks.members import load_member, save_member
from pipeline.networks.segmenter import Segmenter, build
from pipeline.networks.spec import ModelSpec
from pipeline.params.network import NetworkParams

BANDS = ("blue", "green", "red", "nir")
PLAIN = ChannelRecipe.named(BANDS, BANDS, None, 1e4)
CLASSES = ("background", "settlement", "water")


def spec(**changes):
    return ModelSpec(network=NetworkParams(encoder_depth=3, decoder_channels=(16, 8, 8)), bands=BANDS, classes=CLASSES,
                     colors=("#000000",) * 3, background="background", reflectance_scale=10000, mean=(2000,) * 4,
                     std=(900,) * 4, low=(1,) * 4, high=(9000,) * 4, patch_size_px=32, size_multiple=8,
                     pixel_size_m=10, split="0" * 64, **changes)


class Surroundings(Segmenter):
    """Class by the mean of the red band around a pixel, too sure of itself and wrong at the edges of fields."""

    def forward(self, image_NCHW):
        red = torch.nan_to_num(image_NCHW[:, 2:3], nan=2000.0)
        mean = torch.nn.functional.avg_pool2d(red, 9, 1, 4, count_include_pad=False)[:, 0]
        return torch.stack([-0.02 * (mean - centre).abs() for centre in (1000, 2200, 3400)], dim=1)


@pytest.fixture
def segmenter():
    return Surroundings(spec()).eval()


def samples(sharpness, pixels=4000, seed=0):
    """Logits whose labels are drawn from softmax(logits / sharpness): the right temperature is `sharpness`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (pixels, 3))
    shares = np.exp(log_softmax(logits)).cumsum(axis=1)
    return sharpness * logits, (rng.random(pixels)[:, None] > shares).sum(axis=1)


def test_likelihood_and_calibration_error_by_hand():
    logs = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7]]))
    labels = np.array([0, 1, 1])
    assert negative_log_likelihood(logs, labels) == pytest.approx(-(math.log(0.9) + math.log(0.1) + math.log(0.7)) / 3)
    # Two of three at 0.9, half of them right: |0.5 - 0.9|; one at 0.7, right: |1 - 0.7|.
    assert expected_calibration_error(logs, labels) == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.3)
    assert expected_calibration_error(np.log(np.array([[1.0, 1e-30]])), np.array([0])) == pytest.approx(0)


@pytest.mark.parametrize("sharpness", [0.2, 0.7, 1.0, 3.0, 12.0])
def test_the_temperature_has_the_least_likelihood_of_all(sharpness):
    logits, labels = samples(sharpness)
    found = temperature(logits, labels)
    assert found == pytest.approx(sharpness, rel=0.15)
    least = negative_log_likelihood(log_softmax(logits / found), labels)
    for other in np.geomspace(0.05, 20, 200):
        assert least <= negative_log_likelihood(log_softmax(logits / other), labels) + 1e-12
    for near in (0.999, 1.001):
        assert least < negative_log_likelihood(log_softmax(logits / (near * found)), labels)


@pytest.mark.parametrize(("labels", "bound", "why"), [
    (0, 0.05, "without a mistake"), (1, 20.0, "no better than at random")])
def test_pixels_that_bound_no_temperature_are_warned_of(labels, bound, why):
    logits = np.array([[4.0, 1.0], [3.0, 0.0]])
    with pytest.warns(UserWarning, match=f"stops at its bound {bound:g}: .* predicted {why}"):
        assert temperature(logits, np.array([labels, labels])) == bound


def test_logits_that_overflow_are_no_obstacle():
    logits, labels = samples(1.0)
    assert temperature(logits * 4000 / 400, labels) == pytest.approx(10, rel=0.15)
    assert np.isfinite(log_softmax(np.array([[1e5, 0.0, -1e5]]))).all()


def test_probabilities_follow_bias_and_temperature_and_classes_the_bias_alone():
    logits = torch.tensor([2.0, 1.0, 0.0]).view(1, 3, 1, 1)
    plain, biased, cooled = (build(spec(**c)) for c in (
        {}, {"logit_bias": (0, 1.5, 0)}, {"logit_bias": (0, 1.5, 0), "temperature": 0.5}))
    assert torch.equal(plain.decode(logits), torch.softmax(logits, 1))
    assert torch.allclose(biased.decode(logits), torch.softmax(torch.tensor([2, 2.5, 0.0]), 0).view(1, 3, 1, 1))
    assert torch.allclose(cooled.decode(logits), torch.softmax(torch.tensor([4, 5.0, 0.0]), 0).view(1, 3, 1, 1))
    assert [s.decode(logits).argmax().item() for s in (plain, biased, cooled)] == [0, 1, 1]
    assert "logit_bias" not in biased.state_dict()
    assert biased.decode(logits.bfloat16()).dtype == torch.float32


def test_specs_refuse_a_bias_that_is_not_of_their_classes():
    with pytest.raises(ValueError, match=r"logit_bias must have one value for each of classes .*: got \[1\.0, 2\.0\]"):
        spec(logit_bias=(1, 2))
    with pytest.raises(ValueError, match="greater than 0"):
        spec(temperature=0)


def test_the_member_is_stored_with_both_and_older_ones_have_neither(segmenter, tmp_path):
    adjusted = build(spec(logit_bias=(0.1, -0.2, 0.3), temperature=1.7)).eval()
    save_member(tmp_path, adjusted, "")
    image = torch.rand(1, 4, 16, 16) * 3000
    loaded = load_member(tmp_path)
    assert torch.equal(loaded.decode(loaded(image)), adjusted.decode(adjusted(image)))
    before = json.loads((tmp_path / "model.json").read_text())
    del before["logit_bias"], before["temperature"]
    (tmp_path / "model.json").write_text(json.dumps(before))
    loaded = load_member(tmp_path)
    assert torch.equal(loaded.decode(loaded(image)), torch.softmax(adjusted(image), 1))


def test_both_are_in_the_exported_graph(tmp_path):
    torch.manual_seed(0)
    adjusted = build(spec(logit_bias=(0.5, -2.0, 1.0), temperature=1.7)).eval()
    export_onnx(tmp_path / "m.onnx", [adjusted], {}, 18)
    image = np.random.default_rng(0).uniform(1, 9000, (2, 4, 32, 48)).astype(np.float32)
    found = InferenceSession(tmp_path / "m.onnx").run(None, {"image": image})[0]
    with torch.inference_mode():
        logits = adjusted(torch.from_numpy(image))
    expected = torch.softmax((logits + torch.tensor([0.5, -2.0, 1.0]).view(1, 3, 1, 1)) / 1.7, 1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - torch.softmax(logits, 1).numpy()).max() > 0.1


def scorer(data):
    return ValScorer(data.store, data.split, PLAIN, context_px=8, multiple=8)


def test_calibrating_improves_the_likelihood_and_leaves_decisions_alone(tiny_data, segmenter):
    val = scorer(tiny_data())
    before, weights = val(segmenter), {k: v.clone() for k, v in segmenter.state_dict().items()}
    found = calibrate(segmenter, val)
    assert found.nll_after < found.nll_before
    assert segmenter.spec.temperature == found.temperature != 1
    assert val(segmenter) == before
    assert all(torch.equal(v, weights[k]) for k, v in segmenter.state_dict().items())
    assert set(found.report()) == {"temperature", "pixels", "nll_before", "nll_after", "ece_before", "ece_after"}
    # Once is enough: what is calibrated stays.
    again = calibrate(segmenter, val)
    assert again.temperature == pytest.approx(found.temperature, rel=1e-4)
    assert again.nll_before == pytest.approx(found.nll_after, abs=1e-6)


def test_the_numbers_are_those_of_every_labelled_val_pixel(tiny_data, segmenter):
    data = tiny_data()
    scene, split = data.store.scenes[0], data.split
    found = calibrate(segmenter, scorer(data))
    own = split.mask(split.fold_map("one"), "val") & (scene.valid == 1) & (scene.labels != 255)
    assert found.pixels == own.sum()
    logits, labels = calibration._gathered(build_like(segmenter), scorer(data))
    assert sorted(labels.tolist()) == sorted(scene.labels[own].tolist())
    assert found.nll_before == pytest.approx(negative_log_likelihood(log_softmax(logits), labels))


def build_like(segmenter):
    """The same network, not calibrated."""
    return Surroundings(segmenter.spec.model_copy(update={"temperature": 1.0})).eval()


def test_of_many_pixels_every_nth_is_looked_at(tiny_data, segmenter, monkeypatch):
    val = scorer(tiny_data())
    logits, labels = calibration._gathered(segmenter, val)
    monkeypatch.setattr(calibration, "_PIXELS", 700)
    fewer, their_labels = calibration._gathered(segmenter, val)
    step = -(-len(labels) // 700)
    assert step > 1
    assert np.array_equal(fewer, logits[::step])
    assert np.array_equal(their_labels, labels[::step])


def test_the_bias_is_calibrated_too(tiny_data, segmenter):
    biased = Surroundings(spec(logit_bias=(0.0, 3.0, -3.0))).eval()
    plain, shifted = (calibration._gathered(s, scorer(d))[0] for s, d in (
        (segmenter, tiny_data("a")), (biased, tiny_data("b"))))
    np.testing.assert_allclose(shifted - plain, np.tile([0.0, 3.0, -3.0], (len(plain), 1)), atol=1e-5)


def test_test_ground_has_no_say_in_the_temperature(tiny_data, segmenter):
    clean, garbage = tiny_data("clean"), tiny_data("garbage")
    scene, rng = garbage.store.scenes[0], np.random.default_rng(5)
    test = garbage.split.fold_map("one") == 254
    for name, high, bands in (("image", 10_000, BANDS), ("labels", 3, ["class"]), ("valid", 2, ["valid"])):
        changed = raster_io.read(scene.folder / f"{name}.tif")
        changed[test] = rng.integers(0, high, changed[test].shape)
        raster_io.write(scene.folder / f"{name}.tif", changed, scene.grid, bands)
    one, two = (calibrate(build_like(segmenter), scorer(d)) for d in (clean, garbage))
    assert one == two
    assert 0.1 < one.temperature < 19


def test_val_without_labels_cannot_calibrate(tiny_data, segmenter):
    data = tiny_data()
    path = data.store.scenes[0].folder / "labels.tif"
    labels = raster_io.read(path)
    labels[data.split.fold_map("one") == 0] = 255
    raster_io.write(path, labels, data.store.scenes[0].grid, ["class"])
    with pytest.raises(ModelError, match=r"train\.calibration\.temperature needs labelled val pixels: got none"):
        calibrate(segmenter, scorer(data))
