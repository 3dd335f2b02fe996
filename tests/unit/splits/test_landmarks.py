"""Landmarks move with the picture, are apart from each other, and do not depend on the strips a scene is read in."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.geo.raster_io import write
from pipeline.scenes.store import SceneStore
from pipeline.splits import landmarks as module
from pipeline.splits.landmarks import Strip, band_weights, landmarks, share_inside, signatures, strips
from tests.unit.splits.conftest import grid_of


def store_of(folder: Path, *images: np.ndarray, valid: np.ndarray | None = None) -> SceneStore:
    entries, bands = {}, list("abcd"[:images[0].shape[2]])
    for number, image in enumerate(images):
        grid = grid_of(image.shape[:2])
        write(folder / str(number) / "image.tif", image, grid, bands)
        mask = np.ones(grid.shape, np.uint8) if valid is None else valid
        write(folder / str(number) / "valid.tif", mask, grid, ["v"])
        entries[str(number)] = {"grid": grid.to_dict(), "dtype": str(image.dtype)}
    (folder / "manifest.json").write_text(json.dumps({"bands": bands, "classes": ["x"], "scenes": entries}))
    return SceneStore.open(folder)


def strip_of(sums: np.ndarray, valid: np.ndarray | None = None) -> Strip:
    valid = np.ones(sums.shape, bool) if valid is None else valid
    sums = sums.astype(np.float32)
    return Strip(0, 0, len(sums), module._textured(sums, valid), valid, sums)


def found_in(strip: Strip, distance: int) -> set[tuple[int, int]]:
    return {(int(r), int(c)) for r, c in zip(*landmarks(strip, distance), strict=True)}


def test_the_highest_of_the_relief_within_the_distance_is_one() -> None:
    sums = np.zeros((20, 20))
    sums[5, 5], sums[5, 8], sums[12, 10] = 4, 5, 1
    assert found_in(strip_of(sums), 2) == {(5, 5), (5, 8), (12, 10)}
    assert found_in(strip_of(sums), 3) == {(5, 8), (12, 10)}
    assert found_in(strip_of(sums), 7) == {(5, 8)}
    assert found_in(strip_of(sums + np.indices((20, 20)).sum(axis=0) * 9.0), 3) == {(5, 8), (12, 10)}  # on a slope


def test_of_equals_the_first_is_one_and_still_ground_has_none() -> None:
    sums = np.zeros((20, 20))
    sums[5, 5] = sums[5, 8] = sums[8, 3] = sums[15, 15] = 4
    assert found_in(strip_of(sums), 3) == {(5, 5), (15, 15)}
    assert found_in(strip_of(np.full((20, 20), 7.3)), 3) == set()
    assert found_in(strip_of(np.indices((20, 20)).sum(axis=0) * 1.7 + 3e4), 3) == set()


def test_nothing_is_one_beside_ground_without_data() -> None:
    sums = np.random.default_rng(0).normal(size=(30, 30))
    valid = np.ones((30, 30), bool)
    valid[10:12, 10:20] = False
    beside = {(r, c) for r in range(9, 13) for c in range(10, 20)} | {(r, c) for r in (10, 11) for c in (9, 20)}
    high, low = (found_in(strip_of(np.where(valid, sums, fill), valid), 1) for fill in (9, -1e9))
    assert high == low
    assert not high & beside
    assert found_in(strip_of(sums), 1) & beside


@pytest.mark.parametrize("kind", ["noise", "ties"])
@pytest.mark.parametrize("distance", [2, 4, 8])
def test_landmarks_are_apart_and_move_with_the_picture(kind: str, distance: int) -> None:
    rng = np.random.default_rng(1)
    ground = rng.normal(size=(120, 120)) if kind == "noise" else rng.integers(0, 3, (120, 120)).astype(float)
    one, other = found_in(strip_of(ground[:100, :100]), distance), found_in(strip_of(ground[7:107, 11:111]), distance)
    places = np.array(sorted(one))
    away = np.abs(places[:, None] - places).max(axis=2) + 1000 * np.eye(len(places))
    assert away.min() > distance
    margin = 3 * distance + 1  # beyond it the edges of the one are not those of the other
    inner = {(r, c) for r, c in one if 7 + margin <= r < 100 - margin and 11 + margin <= c < 100 - margin}
    moved = {(r + 7, c + 11) for r, c in other}
    assert inner <= moved
    assert len(inner) > 0.2 * (86 - 2 * margin) * (82 - 2 * margin) / (2 * distance + 1) ** 2


@pytest.mark.parametrize("pixels", [90 * 5, 90 * 32])
def test_strips_change_neither_landmarks_nor_signatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        pixels: int) -> None:
    image = np.random.default_rng(2).integers(0, 3000, (110, 90, 2)).astype(np.uint16)
    store = store_of(tmp_path, image)
    weights = band_weights(store)

    def everything() -> list[tuple[int, int, bytes]]:
        found = []
        for strip in strips(store.scenes[0], weights, 16):
            row, col = landmarks(strip, 4)
            fits = (row + strip.top >= 8) & (row + strip.top <= 110 - 8) & (col >= 8) & (col <= 90 - 8)
            row, col = row[fits], col[fits]
            signature = signatures(strip, row - 8, col - 8, 16)
            found += [(int(r) + strip.top, int(c), s.tobytes()) for r, c, s in zip(row, col, signature, strict=True)]
        return found

    whole = everything()
    monkeypatch.setattr(module, "_BAND_PIXELS", pixels)
    assert everything() == whole
    assert len(whole) > 30


def test_weights_are_those_of_detail_not_of_slope_or_level(tmp_path: Path) -> None:
    rows, cols = np.indices((64, 200))
    zigzag = np.where(cols % 2, 3.0, -3.0)  # differences of 6 and -6
    image = np.dstack([zigzag, 1e4 * zigzag, 5 * cols + 2 * rows + 0 * zigzag, np.full_like(zigzag, 7)])
    weights = band_weights(store_of(tmp_path, image.astype(np.float32)))
    assert weights[:2] == pytest.approx([1 / 6, 1 / 6e4], rel=1e-3)
    assert weights[2:].tolist() == [0, 0]


def test_weights_leave_out_what_has_no_data(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(0, 1, (64, 64, 1)).astype(np.float32)
    valid = np.ones((64, 64), np.uint8)
    valid[:, 20:30] = 0
    spoilt = np.where(valid[..., None], image, np.float32(-3.4e38))
    clean, other = (band_weights(store_of(tmp_path / n, i, valid=valid)) for n, i in (("a", image), ("b", spoilt)))
    assert clean == other == pytest.approx(np.sqrt(np.pi) / 2, rel=0.05)  # mean |a - b| of normal values
    store = store_of(tmp_path / "c", spoilt, valid=valid)
    assert all(np.isfinite(strip.sums[strip.valid]).all() for strip in strips(store.scenes[0], clean, 8))


def test_signatures_have_length_one_and_ignore_gain_level_and_slope() -> None:
    rng = np.random.default_rng(4)
    sums = rng.normal(size=(64, 64))
    at = np.array([0, 5, 30]), np.array([3, 20, 40])
    plain = signatures(strip_of(sums), *at, 16)
    assert np.linalg.norm(plain, axis=1) == pytest.approx(1)
    assert plain.mean(axis=1) == pytest.approx(0, abs=1e-6)
    tilted = signatures(strip_of(2.5 * sums + 40 + 3 * np.indices((64, 64))[0]), *at, 16)
    assert (plain * tilted).sum(axis=1) == pytest.approx(1, abs=2e-3)
    other = signatures(strip_of(rng.normal(size=(64, 64))), *at, 16)
    assert np.abs(plain @ other.T).max() < 0.6


def test_shares_inside() -> None:
    mask = np.zeros((6, 6), bool)
    mask[2:5, 1:3] = True
    assert share_inside(mask, np.array([0, 2, 3]), np.array([0, 1, 1]), 2).tolist() == [0, 1, 1]
    assert share_inside(mask, np.array([1, 3]), np.array([0, 2]), 3).tolist() == pytest.approx([4 / 9, 2 / 9])
