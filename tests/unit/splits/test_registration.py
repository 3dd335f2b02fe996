"""Labels moved on purpose are found out; held-out ground has no say; the error says how far off one may be."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import shapely.affinity
from affine import Affine
from pyproj import CRS

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import burn
from pipeline.params.spatial_split import RegistrationParams
from pipeline.scenes.store import SceneStore
from pipeline.sources.synthetic.write import Scene, make_scene, scene_grid
from pipeline.splits.registration import Offset, SceneOffset, measure_offsets
from pipeline.splits.split import Split
from pipeline.types import TEST_FOLD, AnyArray, UInt8Array

PARAMS = RegistrationParams(tile_px=128, reach_px=6)


@dataclass(frozen=True)
class Made:
    store: SceneStore
    split: Split

    def offset(self, params: RegistrationParams = PARAMS) -> SceneOffset:
        return measure_offsets(self.store, self.split, params)[0]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    def build(image: AnyArray, labels: UInt8Array, fold: UInt8Array | None = None, grid: Grid | None = None,
              valid: AnyArray | None = None, name: str = "store") -> Made:
        root, shape = tmp_path / name, labels.shape
        grid = grid or Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700_000, 0, -10, 9_310_000), *shape)
        bands = [f"b{i}" for i in range(image.shape[2])]
        maps = {"labels_raw": labels, "valid": np.ones(shape, dtype=np.uint8) if valid is None else valid}
        for file, array in maps.items():
            raster_io.write(root / f"scenes/one/{file}.tif", array.astype(np.uint8), grid, [file])
        raster_io.write(root / "scenes/one/image.tif", image, grid, bands)
        raster_io.write(root / "splits/one/fold.tif", np.ones(shape, np.uint8) if fold is None else fold, grid, ["f"])
        classes = ["a", "b"]
        (root / "scenes/manifest.json").write_text(json.dumps(
            {"bands": bands, "classes": classes, "scenes": {"one": {"grid": grid.to_dict(), "dtype": "float32"}}}))
        (root / "splits/certificate.json").write_text(json.dumps(
            {"folds": 3, "val_fold": 0, "buffer_m": 0, "classes": classes, "class_map": [0, 1], "unsupported": [],
             "shared_places": []}))
        return Made(SceneStore.open(root / "scenes"), Split.open(root / "splits"))

    return build


def discs(shape: tuple[int, int], seed: int, count: int = 60) -> UInt8Array:
    """Discs of class 1 on ground of class 0."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, dtype=np.uint8)
    for row, col, radius in zip(rng.uniform(0, shape[0], count), rng.uniform(0, shape[1], count),
                                rng.uniform(4, 12, count), strict=True):
        labels[(y - row) ** 2 + (x - col) ** 2 < radius**2] = 1
    return labels


def picture(truth: UInt8Array, seed: int, noise: float = 1.0) -> npt.NDArray[np.float32]:
    """Two bands in which the classes lie two deviations apart (noise 1)."""
    rng = np.random.default_rng(seed)
    levels = np.stack([truth * 2.0, truth * -1.0], axis=-1)
    return (levels + rng.normal(0, noise, (*truth.shape, 2))).astype(np.float32)


def moved(labels: UInt8Array, right: int, down: int, fill: int = 0) -> UInt8Array:
    result = np.full_like(labels, fill)
    rows, cols = labels.shape
    result[max(0, down): rows + min(0, down), max(0, right): cols + min(0, right)] = \
        labels[max(0, -down): rows - max(0, down), max(0, -right): cols - max(0, right)]
    return result


def checkered(shape: tuple[int, int], side: int) -> UInt8Array:
    """Two thirds train (folds 1 and 2), else val (0) or test."""
    rows, cols = np.arange(shape[0])[:, None] // side, np.arange(shape[1]) // side
    fold: UInt8Array = np.array([1, 2, 0, 1, 2, TEST_FOLD], dtype=np.uint8)[(rows * 2 + cols) % 6]
    return fold


@pytest.mark.parametrize(("right", "down"), [(2, -1), (-3, 4), (0, 0)])
def test_moved_labels_are_moved_back(make: Callable[..., Made], right: int, down: int) -> None:
    truth = discs((256, 256), 1)
    found = make(picture(truth, 2), moved(truth, right, down)).offset()
    assert found.offset.undetermined == ""
    assert found.offset.right_px == pytest.approx(-right, abs=0.15)
    assert found.offset.down_px == pytest.approx(-down, abs=0.15)
    assert found.offset.is_significant == (right != 0)
    # 10 m pixels, rows run south
    assert found.offset.east_m == pytest.approx(-10 * right, abs=1.5)
    assert found.offset.north_m == pytest.approx(10 * down, abs=1.5)
    assert len(found.tiles) == 4
    for tile in found.determined:
        assert tile.offset.right_px == pytest.approx(-right, abs=0.5)


def test_metres_are_those_on_the_ground(make: Callable[..., Made]) -> None:
    truth = discs((128, 128), 3)
    mercator = Grid(CRS.from_epsg(3395).to_wkt(), Affine(10, 0, 15_600_000, 0, -10, 4_280_000), 128, 128)
    found = make(picture(truth, 4), moved(truth, 2, 0), grid=mercator).offset().offset
    assert found.right_px == pytest.approx(-2, abs=0.2)
    assert found.east_m == pytest.approx(found.right_px * mercator.ground_pixel_m[0])
    assert mercator.ground_pixel_m[0] < 8.2


def test_sparse_outlines_show_where_they_end(make: Callable[..., Made]) -> None:
    truth = discs((256, 256), 5)
    sparse = np.where(moved(truth, 3, -2) == 1, 1, 255).astype(np.uint8)
    found = make(picture(truth, 6), sparse).offset().offset
    assert (found.right_px, found.down_px) == (pytest.approx(-3, abs=0.2), pytest.approx(2, abs=0.2))


@pytest.mark.parametrize("part", ["image", "labels", "valid"])
def test_held_out_ground_has_no_say(make: Callable[..., Made], part: str) -> None:
    truth = discs((256, 256), 7)
    image, labels, fold = picture(truth, 8), moved(truth, 2, 1), checkered(truth.shape, 64)
    valid = np.ones(truth.shape, dtype=np.uint8)
    clean = make(image, labels, fold, valid=valid, name="clean").offset()
    held = (fold == 0) | (fold == TEST_FOLD)
    noise = np.random.default_rng(9)
    if part == "image":
        image[held] = noise.normal(50, 1000, (int(held.sum()), 2))
    elif part == "labels":
        labels[held] = noise.choice([0, 1, 255], int(held.sum()))
    else:
        valid[held] = noise.integers(0, 2, int(held.sum()))
    assert make(image, labels, fold, valid=valid, name="garbage").offset() == clean
    assert clean.offset.right_px == pytest.approx(-2, abs=0.3)


def test_train_ground_has_a_say(make: Callable[..., Made]) -> None:
    truth = discs((256, 256), 7)
    image, labels, fold = picture(truth, 8), moved(truth, 2, 1), checkered(truth.shape, 64)
    clean = make(image, labels, fold, name="clean").offset()
    train = (fold == 1) | (fold == 2)
    image[train] += np.random.default_rng(10).normal(0, 1, (int(train.sum()), 2)).astype(np.float32)
    assert make(image, labels, fold, name="noisy").offset() != clean


def test_an_image_without_the_labels_gives_no_offset(make: Callable[..., Made]) -> None:
    image = np.random.default_rng(11).normal(size=(256, 256, 2)).astype(np.float32)
    for seed in range(5):
        found = make(image, discs((256, 256), seed), name=f"store{seed}").offset()
        assert found.offset.undetermined
        assert not found.offset.is_significant


@pytest.mark.parametrize("labels", [np.zeros((64, 64), np.uint8), np.full((64, 64), 255, np.uint8)])
def test_labels_without_a_boundary(make: Callable[..., Made], labels: UInt8Array) -> None:
    found = make(picture(discs((64, 64), 1), 1), labels).offset()
    assert "too little label boundary" in found.offset.undetermined
    assert found.tiles == ()
    assert found.spread_m is None


def test_a_scene_without_train_ground_of_some_width(make: Callable[..., Made]) -> None:
    truth = discs((128, 128), 1)
    found = make(picture(truth, 1), truth, checkered(truth.shape, 8)).offset()
    assert "too little label boundary" in found.offset.undetermined


def test_no_reach_measures_nothing(make: Callable[..., Made]) -> None:
    truth = discs((64, 64), 1)
    made = make(picture(truth, 1), truth)
    assert measure_offsets(made.store, made.split, RegistrationParams(reach_px=0)) == ()


def test_the_tiling_is_no_matter_for_the_scene(make: Callable[..., Made]) -> None:
    truth = discs((256, 256), 12)
    made = make(picture(truth, 13), moved(truth, 1, 1))
    one, many = (made.offset(RegistrationParams(tile_px=tile, reach_px=6)).offset for tile in (256, 64))
    assert one.right_px == pytest.approx(many.right_px, abs=0.05)


def test_the_error_is_honest(make: Callable[..., Made]) -> None:
    """Over 24 pictures, errors in units of the standard error have about unit deviation."""
    off = []
    for seed in range(24):
        truth = discs((160, 160), 100 + seed, 30)
        found = make(picture(truth, seed, noise=2.5), moved(truth, 1, -2), name=f"store{seed}").offset().offset
        if not found.undetermined:
            off += [(found.right_px + 1) / found.right_error_px, (found.down_px - 2) / found.down_error_px]
    assert len(off) >= 36
    assert 0.6 < np.sqrt(np.mean(np.square(off))) < 1.5
    assert np.mean(np.abs(off) < 2) > 0.85


@pytest.fixture(scope="module")
def city() -> Scene:
    return make_scene(7, 512)


def test_two_pixels_in_the_city_are_recovered(make: Callable[..., Made], city: Scene) -> None:
    """Outlines of the true settlements, moved by 2 px to the right and 1.5 px up."""
    grid = scene_grid(512)
    to_map = [1, 0, 0, -1, grid.transform.c + 20, grid.transform.f + 15]
    shapes = [shapely.affinity.affine_transform(patch.polygon, to_map)
              for patch in city.plan.patches if patch.kind == "settlement"]
    labels = burn(shapes, [1] * len(shapes), grid, 0)
    image = np.moveaxis(city.counts, 0, -1)
    found = make(image, labels, grid=grid, valid=(image > 0).all(axis=-1)).offset(RegistrationParams()).offset
    assert found.right_px == pytest.approx(-2, abs=0.5)
    assert found.down_px == pytest.approx(1.5, abs=0.5)
    assert found.is_significant


def test_two_pixels_on_top_of_the_citys_own_noise_are_recovered(make: Callable[..., Made], city: Scene) -> None:
    """The noisy outlines as they come, and moved by (2, -1.5) px: the difference is what was injected."""
    grid = scene_grid(512)
    image = np.moveaxis(city.counts, 0, -1)
    offsets = []
    for right, down in ((0.0, 0.0), (2.0, -1.5)):
        shapes = [shapely.affinity.affine_transform(
            shapely.make_valid(shape), [1, 0, 0, -1, grid.transform.c + 10 * right, grid.transform.f - 10 * down])
            for shape in city.outlines.geometries]
        labels = burn(shapes, [1] * len(shapes), grid, 0)
        made = make(image, labels, checkered((512, 512), 128), grid, (image > 0).all(axis=-1), f"store{right}")
        offsets.append(made.offset(RegistrationParams()).offset)
    assert offsets[1].right_px - offsets[0].right_px == pytest.approx(-2, abs=0.5)
    assert offsets[1].down_px - offsets[0].down_px == pytest.approx(1.5, abs=0.5)


@pytest.mark.parametrize("wrong", [{"tile_px": 31}, {"reach_px": 33}, {"reach_px": -1}])
def test_params_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RegistrationParams(**wrong)


@pytest.mark.parametrize(("right", "error", "significant"), [
    (0.6, 0.2, True), (0.6, 0.31, False), (0.4, 0.01, False), (-1.0, 0.4, True)])
def test_significance(right: float, error: float, significant: bool) -> None:
    """Half a pixel and two standard errors, both on one axis."""
    offset = Offset(10 * right, 0, 10 * error, 1, right, 0.45, error, 0.01, "")
    assert offset.is_significant is significant
    assert not replace(offset, undetermined="the score is flat").is_significant
