"""The synthetic city's parts, by hand-worked values, and its files: readable, complete and equal for equal seeds."""

import hashlib
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.warp import transform_bounds
from shapely.geometry import Polygon

from pipeline.sources.synthetic import noise, sensor
from pipeline.sources.synthetic.city import Fields, draw_rows
from pipeline.sources.synthetic.outlines import bow_tie, choose_missing
from pipeline.sources.synthetic.plan import make_plan
from pipeline.sources.synthetic.spectra import GREY, SHAPES, shaped
from pipeline.sources.synthetic.write import CLASSES, UNKNOWN, majority, make_scene, write_scene


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    write_scene(folder, seed=3, size_px=256)
    return folder


def test_regular_cells_are_plain_division() -> None:
    cut = noise.cells(np.array([25.0, -1.0], dtype=np.float32), 10.0, 0.0, salt=1)
    assert cut.index.tolist() == [2, -1]
    np.testing.assert_allclose(cut.to_low, [5, 9], atol=1e-5)
    np.testing.assert_allclose(cut.to_high, [5, 1], atol=1e-5)
    np.testing.assert_allclose(cut.to_edge, [5, 1], atol=1e-5)


def test_jittered_cells_tile_the_line_with_lengths_in_bounds() -> None:
    place = np.linspace(-500, 500, 20_001, dtype=np.float32)
    cut = noise.cells(place, 10.0, 0.6, salt=7)
    length = cut.to_low + cut.to_high
    assert cut.to_low.min() >= -1e-3
    assert cut.to_high.min() >= -1e-3
    assert length.min() >= 4 - 1e-2
    assert length.max() <= 16 + 1e-2
    assert np.ptp(length) > 4, "cells are not all alike"
    steps = np.diff(cut.index)
    assert set(steps.tolist()) == {0, 1}


def test_hash_is_uniform_and_depends_on_every_key() -> None:
    rows, cols = np.indices((200, 200), dtype=np.int32).reshape(2, -1)
    values = noise.uniform(noise.mix(5, rows, cols))
    assert abs(values.mean() - 0.5) < 0.01
    assert abs(values.std() - 12**-0.5) < 0.01
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.02
    assert not np.array_equal(values, noise.uniform(noise.mix(6, rows, cols)))
    assert not np.array_equal(values, noise.uniform(noise.mix(5, cols, rows)))


def test_lognormal_table_has_its_median_and_bounds() -> None:
    table = noise.lognormal_table(0.2, 0.5, 0.1, 0.4)
    assert table[2047:2049].mean() == pytest.approx(0.2, rel=1e-3)
    assert (table.min(), table.max()) == (pytest.approx(0.1), pytest.approx(0.4))


def test_material_is_level_times_shape() -> None:
    seen = shaped(np.array([0.2], dtype=np.float32), np.array([GREY]))
    np.testing.assert_allclose(seen[:, 0], 0.2 * SHAPES[GREY], rtol=1e-6)


def test_majority_takes_the_most_frequent_code_and_the_lowest_on_a_tie() -> None:
    fine = np.zeros((5, 15), dtype=np.uint8)
    fine[:3, :5] = 2  # 15 of 25
    fine[:, 5:10] = np.repeat([1, 1, 3, 3, 0], 5).reshape(5, 5)  # 10, 10 and 5 of 25
    assert majority(fine, 4).tolist() == [[2, 1, 0]]


def test_sensor_keeps_a_constant_and_spreads_a_point_by_psf_and_pixel() -> None:
    flat = np.full((1, 50 + 2 * sensor.REACH, 50), 0.2, dtype=np.float32)
    np.testing.assert_allclose(sensor.observe(flat), 0.2, rtol=1e-5)
    weights = sensor.spread_weights()
    offsets = (np.arange(len(weights)) - (len(weights) - 1) / 2) * noise.DRAW_M
    assert weights.sum() == pytest.approx(1)
    assert 4 <= sensor.PSF_SIGMA_M <= 5
    # A uniform pixel of five 2 m samples has a variance of 2 * 2^2 = 8 m2, which adds to the point spread's.
    assert np.sqrt((weights * offsets**2).sum()) == pytest.approx(np.hypot(sensor.PSF_SIGMA_M, 8**0.5), rel=0.02)


def test_streets_of_six_metres_lose_more_than_half_of_their_contrast() -> None:
    ground = np.ones((1, 200 + 2 * sensor.REACH, 200), dtype=np.float32)
    ground[:, :, ::14] = ground[:, :, 1::14] = ground[:, :, 2::14] = 0  # 6 m in every 28 m
    seen = sensor.observe(ground)[0, :, 3:-3]
    assert np.ptp(seen) < 0.5
    assert seen.mean() == pytest.approx(1 - 3 / 14, abs=0.03)


def test_a_city_does_not_depend_on_how_it_is_cut_into_bands() -> None:
    plan = make_plan(5, 256)
    fields = Fields.draw(5, 256)
    whole, classes = draw_rows(plan, fields, 600, 640)
    for start in (600, 620):
        part, part_classes = draw_rows(plan, fields, start, start + 20)
        np.testing.assert_array_equal(part, whole[:, start - 600 : start - 580])
        np.testing.assert_array_equal(part_classes, classes[start - 600 : start - 580])


def test_bow_tie_is_invalid() -> None:
    assert not bow_tie(Polygon([(0, 0), (1, 0), (1, 1), (0, 1)])).is_valid
    turns = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    assert not bow_tie(Polygon(np.column_stack([np.cos(turns), np.sin(turns)]))).is_valid


@pytest.mark.parametrize("count", [6, 13, 100])
def test_a_fifth_is_missing_by_number_and_about_that_by_area(count: int) -> None:
    rng = np.random.default_rng(0)
    areas = rng.lognormal(1, 0.8, count)
    for _ in range(20):
        missing = choose_missing(rng, areas)
        assert len(np.unique(missing)) == len(missing)
        assert 0.15 <= len(missing) / count <= 0.25
        if count == 100:
            assert areas[missing].sum() / areas.sum() == pytest.approx(0.2, abs=0.05)


def test_equal_seeds_give_equal_bytes_and_other_seeds_others(written: Path, tmp_path: Path) -> None:
    write_scene(tmp_path / "again", seed=3, size_px=256)
    write_scene(tmp_path / "other", seed=4, size_px=256)
    once, again, other = digests(written), digests(tmp_path / "again"), digests(tmp_path / "other")
    assert again == once
    assert set(once) == {
        "scenes/synthetic.tif",
        "labels.gpkg",
        "reference/truth.tif",
        "reference/strata.tif",
        "reference/strata.json",
    }
    assert [name for name in once if other[name] == once[name]] == ["reference/strata.json"]


def test_rasters_share_a_grid_and_say_what_they_hold(written: Path) -> None:
    with (
        rasterio.open(written / "scenes/synthetic.tif") as scene,
        rasterio.open(written / "reference/truth.tif") as truth,
        rasterio.open(written / "reference/strata.tif") as strata,
    ):
        assert scene.descriptions == ("blue", "green", "red", "nir")
        assert (scene.dtypes[0], scene.nodata, scene.shape) == ("uint16", 0, (256, 256))
        assert (truth.dtypes[0], truth.nodata) == ("uint8", UNKNOWN)
        assert scene.crs.to_epsg() == 32748
        assert scene.res == (10, 10)
        assert scene.transform == truth.transform == strata.transform
        assert scene.crs == truth.crs == strata.crs
        image, ground, zones = scene.read(), truth.read(1), strata.read(1)
        west, south, east, north = transform_bounds(scene.crs, "EPSG:4326", *scene.bounds)
    assert 106.5 < west < east < 107.1
    assert -6.3 < south < north < -5.9
    outside = ground == UNKNOWN
    assert 0 < outside.mean() < 0.03
    assert (image[:, outside] == 0).all()
    assert (image[:, ~outside] > 0).all()
    assert (zones[outside] == 0).all()
    names = json.loads((written / "reference/strata.json").read_text(encoding="utf-8"))
    assert {str(code) for code in np.unique(zones[~outside])} <= set(names)
    assert {"formal_city", "dense_formal", "container_yard", "fallow", "settlement"} <= set(names.values())


def test_labels_are_what_a_map_service_gives(written: Path) -> None:
    labels = gpd.read_file(written / "labels.gpkg", layer="labels")
    assert labels.crs.to_epsg() == 4326
    assert set(labels["class"]) == {"informal_settlement"}
    assert labels["source_id"].is_unique
    assert not labels.is_valid.all()


@pytest.mark.parametrize("seed", range(4))
def test_small_scenes_contain_every_class(seed: int) -> None:
    scene = make_scene(seed, 256)
    shares = [(scene.truth == code).mean() for code in range(len(CLASSES))]
    assert min(shares) > 0.03
    assert sum(not shape.is_valid for shape in scene.outlines.geometries) >= 1
    assert all(not shapely.is_empty(shape) for shape in scene.outlines.geometries)
