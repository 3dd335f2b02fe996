"""The learning-rate test: what it suggests, by hand, and on a small training."""

import math

import pytest
import torch

from pipeline.errors import ModelError
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.reporting.lr_figure import draw_rates
from pipeline.seeding import seed_everything
from pipeline.training.engine import open_fabric
from pipeline.training.lr_find import RateSweep, find_rate, smooth
from pipeline.training.prepare import prepare

TASK = Task.model_validate({"bands": ["blue", "green", "red", "nir"], "background": "background", "classes": [
    {"name": n, "color": "#102030"} for n in ("background", "settlement", "water")]})
PARAMS = TrainParams.model_validate({
    "network": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}, "patches": {"size_px": 32, "per_epoch": 8},
    "batch_size": 4, "threads": 1, "accelerator": "cpu"})


def test_smoothing_is_a_weighted_mean():
    assert smooth([2.0, 2.0, 2.0]) == pytest.approx([2, 2, 2])
    assert smooth([1.0, 2.0])[1] == pytest.approx((0.8 * 1 + 2) / 1.8)


def sweep(smoothed):
    return RateSweep(tuple(10.0 ** (i - 9) for i in range(len(smoothed))), tuple(smoothed), tuple(smoothed))


def test_the_suggestion_is_where_the_loss_falls_fastest():
    # Changes over six steps: -1 at 5, -4, -5.5, -6 at 8, -2 at 9; the drop at the start is still unsettled.
    found = sweep([30, 10, 10, 10, 10, 10, 10, 10, 9, 6, 4.5, 4, 8])
    assert found.suggestion == pytest.approx(0.1)
    assert found.lowest == pytest.approx(100.0)


def test_a_loss_that_only_rises_suggests_nothing():
    with pytest.raises(ModelError, match="the loss must fall at some rate between 1e-09 and 10: it rose throughout"):
        _ = sweep([float(i) for i in range(11)]).suggestion
    assert sweep([float(i) for i in range(11)]).steepest is None


@pytest.fixture
def find(tiny_data):
    data = tiny_data()

    def run(low, high, steps):
        fabric = open_fabric(PARAMS)
        seed_everything(3)
        ready = prepare(data.store, data.split, TASK, PARAMS, 3)
        return find_rate(fabric, ready.spec, ready.source, ready.class_weights_K, PARAMS, low, high, steps)

    yield run
    torch.use_deterministic_algorithms(False)


def test_on_a_small_training_it_repeats_and_ends_when_it_diverges(find, tmp_path):
    found = find(1e-5, 100.0, 40)
    assert found == find(1e-5, 100.0, 40)
    assert found.rates[:2] == pytest.approx((1e-5, 1e-5 * 1e7 ** (1 / 39)))
    assert 1e-4 < found.suggestion < found.lowest < 10
    assert len(found.rates) < 40 or found.rates[-1] == pytest.approx(100)
    assert found.csv.splitlines()[0] == "rate,loss,smoothed"
    assert len(found.csv.splitlines()) == len(found.rates) + 1
    assert all(map(math.isfinite, found.losses))
    draw_rates(tmp_path / "a.png", found.rates, found.losses, found.smoothed, found.suggestion, 1e-3)
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize(("low", "high", "steps", "message"), [
    (1e-3, 1e-4, 40, r"must be positive and growing: got 0.001 to 0.0001"),
    (0, 1, 40, "must be positive and growing"),
    (1e-4, 1, 19, "must have at least 20 steps: got 19"),
    (1e30, 1e35, 20, "must begin with finite losses"),
])
def test_ranges_that_lead_nowhere_are_refused(find, low, high, steps, message):
    with pytest.raises(ModelError, match=message):
        find(low, high, steps)
