"""The range of simulated fields is found; block sizes follow it, or say why not."""

import numpy as np
import pytest

from pipeline.errors import SplitError
from pipeline.params.spatial_split import SplitParams
from pipeline.scenes.store import SceneStore
from pipeline.splits import correlation as module
from pipeline.splits.correlation import Correlation, measure, with_block_size
from pipeline.splits.sample import Sample
from tests.unit.splits.conftest import StoreMaker

SIDE = 256


def exponential_field(range_m: float, seed: int) -> np.ndarray:
    """A Gaussian field of 10 m pixels whose covariance is exp(-3 h / range), by its spectrum on a torus."""
    away = np.minimum(np.arange(SIDE), SIDE - np.arange(SIDE)) * 10.0
    covariance = np.exp(-3 * np.hypot(away[:, None], away) / range_m)
    spectrum = np.sqrt(np.maximum(np.fft.fft2(covariance).real, 0))
    noise = np.random.default_rng(seed).normal(size=(2, SIDE, SIDE))
    return np.fft.ifft2(spectrum * (noise[0] + 1j * noise[1])).real * SIDE


def store_with_residuals(make_store: StoreMaker, monkeypatch: pytest.MonkeyPatch, field: np.ndarray) -> SceneStore:
    """A store whose quick model would leave the field as residuals."""
    labels = np.random.default_rng(0).integers(0, 2, field.shape).astype(np.uint8)
    monkeypatch.setattr(module, "image_values", lambda _, sample: field[sample.row, sample.col][:, None])
    monkeypatch.setattr(module, "cross_fitted_residuals", lambda values, *_: values[:, 0])
    return make_store({"s": labels})


@pytest.mark.parametrize("range_m", [120, 300])
def test_the_range_of_a_simulated_field_is_found(make_store: StoreMaker, monkeypatch: pytest.MonkeyPatch,
                                                 range_m: float) -> None:
    store = store_with_residuals(make_store, monkeypatch, exponential_field(range_m, 4))
    found = measure(store, 1)
    assert found.range_m == pytest.approx(range_m, rel=0.25)
    assert found.reach_m == pytest.approx(1280, rel=2e-3)
    assert found.to_dict() == measure(store, 1).to_dict()
    assert found.error_m is not None
    assert 0 < found.error_m < 0.3 * range_m
    assert found.to_dict()["model"]["name"] in ("exponential", "spherical")


def test_white_noise_is_correlated_over_a_pixel_at_most(make_store: StoreMaker,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_with_residuals(make_store, monkeypatch, np.random.default_rng(2).normal(size=(SIDE, SIDE)))
    found = measure(store, 1)
    assert found.range_m is not None
    assert found.range_m < 20


def test_a_trend_over_the_scene_has_no_sill(make_store: StoreMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, cols = np.indices((SIDE, SIDE))
    store = store_with_residuals(make_store, monkeypatch, (rows + cols) / SIDE)
    found = measure(store, 1)
    assert found.range_m is None
    assert found.why.startswith("no sill")
    assert found.fitted is not None
    with pytest.raises(SplitError, match=r"auto must find .* within half the scene .12.* m.: no sill.*; give a number"):
        with_block_size(SplitParams(block_size_m="auto"), found, store)
    with pytest.warns(UserWarning, match="no sill: semivariance still rises"):
        with_block_size(SplitParams(), found, store)


def test_a_quick_model_that_sees_all_leaves_no_correlation(make_store: StoreMaker) -> None:
    """The image gives the class away, so nothing is left to correlate."""
    labels = np.kron(np.random.default_rng(0).integers(0, 2, (8, 8)), np.ones((16, 16))).astype(np.uint8)
    found = measure(make_store({"s": labels}), 1)
    assert found.range_m == 0
    assert found.why == "residuals show no correlation beyond a pixel"
    assert found.error_m is None
    assert 3000 < found.pixels <= 21_000
    assert with_block_size(SplitParams(block_size_m=20), found, make_store({"s": labels})).block_m == 20  # no warning
    with pytest.raises(SplitError, match=r"auto must find .* beyond a pixel .*: residuals show no .*; give a number"):
        with_block_size(SplitParams(block_size_m="auto"), found, make_store({"s": labels}))


def test_too_little_is_said(make_store: StoreMaker) -> None:
    store = make_store({"s": np.zeros((8, 8), np.uint8)})
    found = measure(store, 1)
    assert found.range_m is None
    assert found.why == "too little to measure: 64 labelled pixels were drawn of 1 classes"
    assert with_block_size(SplitParams(block_size_m=640), found, store).block_m == 640  # without a warning
    with pytest.raises(SplitError, match=r"auto must find a correlation range .* too little to measure"):
        with_block_size(SplitParams(block_size_m="auto"), found, store)
    nothing = measure(make_store({"s": np.full((8, 8), 255, np.uint8)}), 1)
    assert nothing.pixels == 0


def test_one_class_in_half_of_the_ground_is_too_little(make_store: StoreMaker) -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[2:9, 2:9] = 1  # within one of the 6 x 6 cells that are dealt to halves
    found = measure(make_store({"s": labels}), 1)
    assert found.range_m is None
    assert found.why == "too little to measure: half of the ground holds fewer than two classes"
    assert found.measured is None
    labels[2:9, 13:20] = 1  # the next cell, of the other half
    assert measure(make_store({"s": labels}), 1).measured is not None


def test_auto_is_the_range_in_whole_pixels(make_store: StoreMaker) -> None:
    store = make_store({"s": np.zeros((16, 16), np.uint8)})
    pixel = store.scenes[0].grid.ground_pixel_m[1]

    def auto(range_m: float, buffer_m: float = 0) -> float:
        found = Correlation(range_m, "95 % of the sill", 500, 100)
        return with_block_size(SplitParams(block_size_m="auto", buffer_m=buffer_m), found, store).block_m / pixel

    assert auto(95) == pytest.approx(10, rel=5e-3)
    assert auto(101) == pytest.approx(11, rel=5e-3)
    assert auto(3) == pytest.approx(4, rel=5e-3)
    assert auto(10, buffer_m=50) > 10


def test_shorter_blocks_warn_and_longer_ones_do_not(make_store: StoreMaker) -> None:
    store, found = make_store({"s": np.zeros((16, 16), np.uint8)}), Correlation(300.4, "95 % of the sill", 500, 100)
    with pytest.warns(UserWarning, match="block_size_m=300 is shorter than the correlation range .* 300 m: val and "):
        with_block_size(SplitParams(block_size_m=300), found, store)
    assert with_block_size(SplitParams(block_size_m=301), found, store).block_m == 301


def test_the_error_is_what_other_samples_show(make_store: StoreMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scatter of the range over seeds, on one field, against the mean of the errors stated."""
    store = store_with_residuals(make_store, monkeypatch, exponential_field(200, 5))
    found = [measure(store, seed) for seed in range(8)]
    scatter = np.std([f.range_m for f in found], ddof=1)
    stated = np.mean([f.error_m for f in found])
    assert 0.4 < stated / scatter < 2.5


def test_pairs_lie_within_a_cluster_or_a_scene() -> None:
    sample = Sample(np.array([0, 0, 1, 0, 1]), np.arange(5), np.arange(5))  # 3 anchors; partners of 0 and of 2
    first, second = module._pairs(sample, 3, np.array([0, 1, 2, 0, 2]))
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1), (0, 3), (2, 4)]


def test_an_unresolved_auto_has_no_number() -> None:
    with pytest.raises(ValueError, match="must be a number here: got 'auto'"):
        _ = SplitParams(block_size_m="auto").block_m
