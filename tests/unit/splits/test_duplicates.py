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
from pipeline.splits.certificate import near_duplicates
from pipeline.splits.duplicates import Duplicates, _detail_correlation, find_duplicates
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
            names = list("abcd"[:image.shape[2]])
            for name, array, bands in (("image", image, names), ("valid", mask, ["v"])):
                write(tmp_path / f"scenes/{id_}/{name}.tif", array, grid, bands)
            write(tmp_path / f"splits/{id_}/fold.tif", np.full(grid.shape, number, np.uint8), grid, ["f"], nodata=255)
            side = max(1, round(params.block_m / 10))
            rows, cols = np.indices(grid.shape)
            blocks = (1 + rows // side * 1000 + cols // side).astype(np.int32)
            write(tmp_path / f"splits/{id_}/block.tif", blocks, grid, ["b"], nodata=0)
            entries[id_] = {"grid": grid.to_dict(), "dtype": str(image.dtype)}
        manifest = {"bands": names, "classes": ["x"], "scenes": entries}
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


def test_with_support_in_all_folds_every_fold_is_held_out_in_turn(find: Finder, tmp_path: Path) -> None:
    find(textured(1), textured(1), fold=2)  # folds 1 and 2 show the same, and 0 is the val fold
    split = Split(tmp_path / "splits", 3, 0, 0, ("x",), look_up_table((0,)), ())
    store = SceneStore.open(tmp_path / "scenes")
    assert near_duplicates(split, store, PARAMS, 1)["near_duplicates"]["same"] == 0
    params = PARAMS.model_copy(update={"support_in": "all_folds", "folds": 3})
    with pytest.raises(IntegrityError, match="first the val window at row"):
        near_duplicates(split, store, params, 1)
    with pytest.warns(UserWarning, match="held-out windows look"):
        found = near_duplicates(split, store, params.model_copy(update={"near_duplicates": "report"}), 1)
    assert {fold: data["same"] > 0 for fold, data in found["near_duplicates_by_other_val_fold"].items()} == {
        "1": True, "2": True}
    assert set(found["near_duplicates"]) == set(found["near_duplicates_by_other_val_fold"]["1"])


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


def shifted(ground: np.ndarray, rows: int, cols: int, side: int) -> np.ndarray:
    return ground[rows:rows + side, cols:cols + side]


@pytest.mark.parametrize("block_px", [8, 12, 15, 20, 33, 40, 47, 64])
@pytest.mark.parametrize("shift", [(0, 0), (7, 11)])
def test_a_copy_is_met_whatever_the_blocks(find: Finder, block_px: int, shift: tuple[int, int]) -> None:
    """Fields in noise, and noise alone, in blocks that no lattice of windows would fit."""
    for ground in (textured(3, 180, 8), noise(4, 180)):
        found = find(shifted(ground, 0, 0, 160), shifted(ground, *shift, 160),
                     params=SplitParams(block_size_m=10 * block_px))
        assert found.side_px <= max(8, block_px / 2 + 0.5)
        assert sum(p.same for p in found.pairs) > 0.6 * found.held_out_windows > 8
        assert {(p.train[1] - p.held_out[1], p.train[2] - p.held_out[2]) for p in found.pairs} == {shift}
        assert found.examined_blocks > 0.5 * found.textured_blocks > 1


def noise(seed: int, side: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(2000, 50, (side, side, 2)).astype(np.uint16)


def test_windows_of_held_out_blocks_dealt_one_by_one_meet_their_copies(tmp_path: Path) -> None:
    """A scene given twice with another georeference, whose blocks of 12 px are dealt apart (a lattice met none)."""
    one = noise(1, 120)
    rng, entries = np.random.default_rng(5), {}
    for id_, image, x in (("one", one, 700_000.0), ("two", one[5:, 3:], 200_000.0)):
        grid = grid_of(image.shape[:2], origin=(x, 9_310_000.0))
        rows, cols = np.indices(grid.shape) // 12
        fold = rng.choice(np.array([0, 1, 2, 254], np.uint8), (10, 10))[rows, cols]
        for folder, name, array in (("scenes", "image", image), ("scenes", "valid", np.ones(grid.shape, np.uint8)),
                                    ("splits", "fold", fold), ("splits", "block", (rows * 10 + cols + 1).astype("i4"))):
            bands = ["a", "b"] if name == "image" else [name]
            write(tmp_path / folder / id_ / f"{name}.tif", array, grid, bands)
        entries[id_] = {"grid": grid.to_dict(), "dtype": "uint16"}
    (tmp_path / "scenes/manifest.json").write_text(json.dumps({"bands": ["a", "b"], "classes": ["x"],
                                                              "scenes": entries}))
    split = Split(tmp_path / "splits", 3, 0, 0, ("x",), look_up_table((0,)), ())
    params = SplitParams(block_size_m=120, folds=3)
    found = find_duplicates(split, SceneStore.open(tmp_path / "scenes"), params, 1)
    assert sum(p.same for p in found.pairs) > 10
    assert {(p.train[1] - p.held_out[1], p.train[2] - p.held_out[2]) for p in found.pairs} <= {(5, 3), (-5, -3)}
    with pytest.raises(IntegrityError, match="must not show the same picture"):
        found.refuse_or_warn(params)


def plane(side: int, row: float, col: float, rough: float = 0, seed: int = 0) -> np.ndarray:
    rows, cols = np.indices((side, side))
    return 1000 + row * rows + col * cols + np.random.default_rng(seed).normal(0, rough, (side, side))


@pytest.mark.parametrize("kind", ["plane", "steep", "hills", "rough"])
def test_elevation_as_a_band_is_no_alarm_and_hides_none(find: Finder, kind: str) -> None:
    """A large smooth band must not decide for reflectances from 0 to 1."""
    side = 192
    rows, cols = np.indices((side, side))
    made = {"plane": lambda _: plane(side, 5, 3), "steep": lambda _: plane(side, 100, 60) + 3e4,
            "hills": lambda _: 1000 + 300 * np.sin(rows / 130) + 300 * np.cos(cols / 170),
            "rough": lambda seed: plane(side, 5, 3, 0.05, seed)}[kind]
    one, other = (np.dstack([textured(s, side) / 1e4, made(s)]).astype(np.float32) for s in (1, 2))
    apart = find(one, other)
    assert apart.held_out_windows > 20
    assert apart.pairs == ()
    copy = find(one, one)
    assert sum(p.same for p in copy.pairs) > 0.9 * copy.held_out_windows > 20


def test_smooth_pictures_of_several_units_are_no_alarm(find: Finder) -> None:
    """A band without noise that dwarfs a noisy one: alike in itself, but not the same picture."""
    rows, cols = np.indices((192, 192))
    waves = 5e4 + 1e4 * np.sin(rows / 40) * np.cos(cols / 50)
    one, other = (np.dstack([waves, np.random.default_rng(s).normal(0, 1, waves.shape)]) for s in (1, 2))
    found = find(one.astype(np.float32), other.astype(np.float32))
    assert found.held_out_windows > 20
    assert found.pairs == ()


def test_ships_and_shores_in_a_little_noise_are_no_alarm(find: Finder) -> None:
    def sea(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        image = rng.normal(300, 1.5, (128, 128, 2))
        image[rng.integers(0, 128, 60), rng.integers(0, 128, 60)] += 3000
        image[:, 90:] += 1500
        return image.astype(np.uint16)

    found = find(sea(1), sea(2))
    assert found.held_out_windows > 10
    assert found.pairs == ()


def test_blocks_too_small_for_a_window_are_said(find: Finder) -> None:
    params = SplitParams(block_size_m=60)
    whole = find(textured(1), textured(1), params=params)  # all held out: windows reach over blocks
    assert whole.side_px == 8
    assert whole.examined_blocks > 0.5 * whole.textured_blocks
    few = Duplicates(8, 3, 90, 50, 24, ())
    with pytest.warns(UserWarning, match=r"only 24 of 50 held-out blocks with texture .*: blocks of 60 m"):
        few.refuse_or_warn(params)
    Duplicates(8, 3, 90, 50, 25, ()).refuse_or_warn(params)
    Duplicates(8, 0, 90, 0, 0, ()).refuse_or_warn(params)  # still water has nothing to examine
    assert few.to_dict()["examined_blocks"] == 24


def test_held_out_blocks_between_train_blocks_of_four_pixels_cannot_be_examined(tmp_path: Path) -> None:
    image, grid = noise(1, 64), grid_of((64, 64))
    rows, cols = np.indices(grid.shape) // 4
    fold = np.array([1, 254], np.uint8)[(rows + cols) % 2]
    for folder, name, array in (("scenes", "image", image), ("scenes", "valid", np.ones(grid.shape, np.uint8)),
                                ("splits", "fold", fold), ("splits", "block", (rows * 16 + cols + 1).astype("i4"))):
        write(tmp_path / folder / "one" / f"{name}.tif", array, grid, ["a", "b"] if name == "image" else [name])
    entries = {"one": {"grid": grid.to_dict(), "dtype": "uint16"}}
    (tmp_path / "scenes/manifest.json").write_text(json.dumps({"bands": ["a", "b"], "classes": ["x"],
                                                              "scenes": entries}))
    split = Split(tmp_path / "splits", 3, 0, 0, ("x",), look_up_table((0,)), ())
    params = SplitParams(block_size_m=40, folds=3)
    found = find_duplicates(split, SceneStore.open(tmp_path / "scenes"), params, 1)
    assert (found.held_out_windows, found.textured_blocks, found.examined_blocks) == (0, 128, 0)
    with pytest.warns(UserWarning, match=r"only 0 of 128 held-out blocks .* little room for windows of 8 px"):
        found.refuse_or_warn(params)


def test_many_windows_are_sampled(find: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = find(textured(1, 512), textured(1, 512))
    monkeypatch.setattr("pipeline.splits.duplicates._HELD_OUT_WINDOWS", 100)
    some = find(textured(1, 512), textured(1, 512))
    assert 0 < some.held_out_windows < 0.7 * whole.held_out_windows
    assert sum(p.same for p in some.pairs) > 0.9 * some.held_out_windows
    assert (some.textured_blocks, some.examined_blocks) == (whole.textured_blocks, whole.examined_blocks)


def test_strips_change_nothing(find: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = textured(3, 200)
    whole = find(ground[:160, :160], ground[7:167, 11:171])
    monkeypatch.setattr("pipeline.splits.landmarks._BAND_PIXELS", 160 * 13)
    monkeypatch.setattr("pipeline.splits.duplicates._AT_ONCE", 7)
    banded = find(ground[:160, :160], ground[7:167, 11:171])
    assert banded.to_dict() == whole.to_dict()
    assert len(whole.pairs) > 10


def speckle(seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, (16, 16))


def test_the_band_that_differs_most_decides_whatever_its_unit() -> None:
    waves = 1e4 * np.sin(np.arange(16) / 9)[:, None] * np.cos(np.arange(16) / 7)
    same = _detail_correlation(np.dstack([waves, speckle(1)]), np.dstack([waves, speckle(1)]))
    assert same == pytest.approx(1)
    assert _detail_correlation(waves[..., None], waves[..., None]) == pytest.approx(1)
    for bands in ([waves, speckle(1, 0.01)], [speckle(1, 0.01), waves]):
        other = [b if b is waves else speckle(2, 0.01) for b in bands]
        assert abs(_detail_correlation(np.dstack(bands), np.dstack(other))) < 0.3
        assert _detail_correlation(np.dstack(bands), 3 * np.dstack(bands) + 500) == pytest.approx(1)


def test_bands_without_detail_do_not_count() -> None:
    flat, slope = np.full((16, 16), 300.0), plane(16, 100, 60).astype(np.float32).astype(float)
    assert _detail_correlation(np.dstack([flat, slope]), np.dstack([flat, slope])) == 0
    assert _detail_correlation(np.dstack([flat, speckle(1), slope]), np.dstack([flat, speckle(1), slope])) == (
        pytest.approx(1))
    assert _detail_correlation(np.dstack([speckle(1), flat]), np.dstack([speckle(1), speckle(2)])) == 0
    steep = (3e4 + slope / 3).astype(np.float32).astype(float)  # what float32 rounds is no detail
    assert _detail_correlation(steep[..., None], steep[..., None]) == 0


def test_a_bright_spot_or_an_edge_does_not_decide() -> None:
    spot, edge = np.zeros((16, 16)), np.zeros((16, 16))
    spot[8, 8], edge[:, 9:] = 3000, 3000
    for shape in (spot, edge):
        one, other = (speckle(seed)[..., None] + shape[..., None] for seed in (1, 2))
        assert _detail_correlation(one, other) < 0.6
        assert _detail_correlation(one, one) == pytest.approx(1)
