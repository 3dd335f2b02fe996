"""Samples are uniform over what a rule chooses; positions are metres on the ground."""

import numpy as np
import pytest
from pyproj import Geod, Transformer

from pipeline.seeding import generator
from pipeline.splits import blocks as blocks_module
from pipeline.splits.sample import Sample, draw, image_values, look_up, positions_m
from tests.unit.splits.conftest import StoreMaker, grid_of


def labelled(scene: object, s: tuple[slice, slice]) -> np.ndarray:
    return np.asarray(scene.labels[s] != 255)  # type: ignore[attr-defined]


def test_all_that_a_rule_chooses_where_little_is(make_store: StoreMaker) -> None:
    one, two = np.full((4, 5), 255, np.uint8), np.full((3, 3), 255, np.uint8)
    one[1, 2], one[3, 4], two[0, 0] = 0, 1, 1
    store = make_store({"a": one, "b": two})
    sample = draw(store, labelled, 10, generator(1, "x"))
    assert list(zip(sample.scene, sample.row, sample.col, strict=True)) == [(0, 1, 2), (0, 3, 4), (1, 0, 0)]
    assert look_up(store, sample, lambda scene: scene.labels).tolist() == [0, 1, 1]
    assert image_values(store, sample).tolist() == [[0, 1, 2], [100, 101, 102], [100, 101, 102]]


def test_every_chosen_pixel_is_equally_likely_and_drawn_once(make_store: StoreMaker,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BAND_PIXELS", 24)
    labels = np.full((8, 12), 255, np.uint8)
    labels[:, :6] = 0
    store = make_store({"a": labels, "b": labels})
    counts = np.zeros((2, 8, 12))
    for seed in range(200):
        sample = draw(store, labelled, 24, generator(seed, "x"))
        assert len(set(zip(sample.scene, sample.row, sample.col, strict=True))) == 24
        np.add.at(counts, (sample.scene, sample.row, sample.col), 1)
    assert (counts[:, :, 6:] == 0).all()
    assert ((counts[:, :, :6] - 50) ** 2 / 50).sum() < 150  # 96 pixels, variance below that of chance: chi-square


def test_nothing_to_choose_is_an_empty_sample(make_store: StoreMaker) -> None:
    store = make_store({"a": np.full((4, 5), 255, np.uint8)})
    sample = draw(store, labelled, 10, generator(1, "x"))
    assert len(sample) == 0
    assert positions_m([store.scenes[0].grid], sample).shape == (0, 3)


def test_look_up_keeps_the_order_of_a_mixed_sample(make_store: StoreMaker) -> None:
    store = make_store({"a": np.zeros((2, 2), np.uint8), "b": np.ones((2, 2), np.uint8)})
    sample = Sample(np.array([1, 0, 1]), np.array([0, 0, 1]), np.array([0, 1, 1]))
    assert look_up(store, sample, lambda scene: scene.labels).tolist() == [1, 0, 1]
    assert look_up(store, sample.take(np.array([1])), lambda scene: scene.labels).tolist() == [0]
    assert len(sample.join(sample)) == 6


@pytest.mark.parametrize("crs", ["EPSG:32748", "EPSG:3395"])
def test_positions_are_metres_whatever_the_crs(crs: str) -> None:
    grid = grid_of((300, 300), crs)
    sample = Sample(np.zeros(2, np.intp), np.array([0, 250]), np.array([0, 299]))
    xyz = positions_m([grid], sample)
    corners = np.array([grid.transform @ (0.5, 0.5), grid.transform @ (299.5, 250.5)]).T
    lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(*corners)
    geodesic = Geod(ellps="WGS84").inv(lon[0], lat[0], lon[1], lat[1])[2]
    assert np.linalg.norm(xyz[0] - xyz[1]) == pytest.approx(geodesic, rel=1e-6)
