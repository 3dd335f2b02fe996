"""The same picture in train and held-out ground is found whatever its place, gain and shift; nothing else is."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import IntegrityError
from pipeline.geo.raster_io import write
from pipeline.params.spatial_split import SplitParams
from pipeline.scenes.store import SceneStore
from pipeline.splits.duplicates import Duplicates, find_duplicates
from pipeline.splits.plan import look_up_table
from pipeline.splits.split import Split
from tests.unit.splits.conftest import grid_of

PARAMS = SplitParams(block_size_m=640)
Finder = Callable[..., Duplicates]


@pytest.fixture
def find(tmp_path: Path) -> Finder:
    """Duplicates between two far scenes: `train` all train, `held` all of one held-out fold."""

    def make(train: np.ndarray, held: np.ndarray, fold: int = 254, params: SplitParams = PARAMS,
             valid: np.ndarray | None = None) -> Duplicates:
        entries = {}
        for id_, image, number in (("train", train, 1), ("held", held, fold)):
            grid = grid_of(image.shape[:2], origin=(700_000.0 if id_ == "train" else 200_000.0, 9_310_000.0))
            mask = np.ones(grid.shape, np.uint8) if valid is None else valid
            for name, array, bands in (("image", image, ["a", "b"]), ("valid", mask, ["v"])):
                write(tmp_path / f"scenes/{id_}/{name}.tif", array, grid, bands)
            write(tmp_path / f"splits/{id_}/fold.tif", np.full(grid.shape, number, np.uint8), grid, ["f"], nodata=255)
            entries[id_] = {"grid": grid.to_dict(), "dtype": str(image.dtype)}
        manifest = {"bands": ["a", "b"], "classes": ["x"], "scenes": entries}
        (tmp_path / "scenes/manifest.json").write_text(json.dumps(manifest))
        split = Split(tmp_path / "splits", 3, 0, 0, ("x",), look_up_table((0,)), ())
        return find_duplicates(split, SceneStore.open(tmp_path / "scenes"), params, 1)

    return make


def textured(seed: int, side: int = 128, step: int = 3) -> np.ndarray:
    """Fields of `step` pixels with noise in two bands, uint16."""
    rng = np.random.default_rng(seed)
    fields = np.kron(rng.integers(200, 3000, (-(-side // step),) * 2), np.ones((step, step)))[:side, :side]
    return (fields[..., None] * [1.0, 0.5] + rng.normal(0, 60, (side, side, 2))).clip(1).astype(np.uint16)


def test_a_scene_given_twice_fails_and_names_both_places(find: Finder) -> None:
    found = find(textured(1), textured(1))
    assert found.side_px == 32
    assert sum(p.same for p in found.pairs) == found.held_out_windows >= 16
    message = (r"must not show the same picture: (\d+) of \1 held-out windows do, first the test window at row \d+, "
               r"column \d+ of scene held and the train window at row \d+, column \d+ of scene train; remove the copy, "
               r"mend the georeference, or set spatial_split.near_duplicates: report")
    with pytest.raises(IntegrityError, match=message):
        found.refuse_or_warn(PARAMS)


def test_report_warns_and_lists(find: Finder) -> None:
    found = find(textured(1), textured(1), fold=0)
    with pytest.warns(UserWarning, match=r"held-out windows look \(nearly\) like train windows, first the val window"):
        found.refuse_or_warn(SplitParams(near_duplicates="report"))
    data = found.to_dict()
    assert data["same"] == data["held_out_windows"]
    assert data["near"] == 0
    assert data["pairs"][0]["held_out"][0] == "held"
    assert data["pairs"][0]["part"] == "val"
    assert data["pairs"][0]["correlation"] == 1


def test_another_gain_and_offset_is_the_same_picture(find: Finder) -> None:
    found = find(textured(1), (textured(1) * 2.5 + 40).astype(np.float32))
    assert sum(p.same for p in found.pairs) == found.held_out_windows


def test_a_little_noise_is_nearly_the_same_and_warns(find: Finder) -> None:
    noisy = (textured(1) + np.random.default_rng(9).normal(0, 25, (128, 128, 2))).clip(1).astype(np.uint16)
    found = find(textured(1), noisy)
    assert len(found.pairs) > 0.5 * found.held_out_windows
    assert not any(p.same for p in found.pairs)
    with pytest.warns(UserWarning, match=r"correlation 0\.99"):
        found.refuse_or_warn(PARAMS)


@pytest.mark.parametrize("shift", [(5, 11), (16, 16), (1, 30)])
def test_a_shifted_copy_is_met(find: Finder, shift: tuple[int, int]) -> None:
    ground = textured(3, 320)
    found = find(ground[:256, :256], ground[shift[0]:shift[0] + 256, shift[1]:shift[1] + 256])
    assert sum(p.same for p in found.pairs) > 0.05 * found.held_out_windows
    for pair in found.pairs:
        assert pair.train[1] - pair.held_out[1] == shift[0]
        assert pair.train[2] - pair.held_out[2] == shift[1]


@pytest.mark.parametrize("step", [3, 16, 64])
def test_different_ground_of_one_kind_is_no_alarm(find: Finder, step: int) -> None:
    found = find(textured(1, 256, step), textured(2, 256, step))
    assert found.held_out_windows > 50
    assert found.pairs == ()
    found.refuse_or_warn(PARAMS)


def test_still_water_and_a_lone_ship_are_no_alarm(find: Finder) -> None:
    flat = np.full((128, 128, 2), 300, np.uint16)
    flat[40, 40] = flat[70, 100] = 2000
    found = find(flat, flat)
    assert (found.held_out_windows, found.train_windows, found.pairs) == (0, 0, ())


def test_straight_coasts_are_no_alarm(find: Finder) -> None:
    """Land and water meet in a straight line in both: alike in small, but not in detail."""
    coast = np.tile(np.where(np.arange(128) % 32 < 16, 300, 2500)[None, :, None], (128, 1, 2))
    one, other = (coast + np.random.default_rng(s).normal(0, 40, coast.shape) for s in (5, 6))
    found = find(one.astype(np.uint16), other.astype(np.uint16))
    assert found.held_out_windows > 10
    assert not any(p.same for p in found.pairs)


def test_windows_without_data_are_left_out(find: Finder) -> None:
    valid = np.ones((128, 128), np.uint8)
    valid[::20, ::20] = 0
    assert find(textured(1), textured(1), valid=valid).held_out_windows == 0


def test_small_blocks_hold_no_window(find: Finder) -> None:
    found = find(textured(1), textured(1), params=SplitParams(block_size_m=150))
    assert (found.held_out_windows, found.pairs) == (0, ())


def test_many_windows_are_sampled(find: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = find(textured(1, 512), textured(1, 512))
    monkeypatch.setattr("pipeline.splits.duplicates._HELD_OUT_WINDOWS", 300)
    some = find(textured(1, 512), textured(1, 512))
    assert 0 < some.held_out_windows < 0.7 * whole.held_out_windows
    assert sum(p.same for p in some.pairs) == some.held_out_windows
