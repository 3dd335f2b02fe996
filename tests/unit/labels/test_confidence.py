"""Polygons that look like another class are trusted less; hand-made classes in a scene of 100 x 100 pixels."""

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from shapely.affinity import translate
from shapely.geometry import Polygon, box

from pipeline.errors import ParamsError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.labels.confidence import polygon_confidence, spectral_factors
from pipeline.labels.refine import refine_all
from pipeline.params.load import Params
from pipeline.params.refine_labels import ConfidenceParams, RefineParams, Shift
from pipeline.types import AnyArray

SPECTRAL = ConfidenceParams(method="spectral", floor=0.2)
LEVELS = {"field": 900, "water": 300, "town": 1800}


@pytest.fixture
def scene(tmp_path: Path, grid: Grid) -> Callable[..., Path]:
    """Write a scene of two bands: `ground` (HW, digital numbers) and its half, with noise; 0 is nodata."""

    def write(ground: AnyArray, noise: float = 60, hole: tuple[slice, slice] | None = None) -> Path:
        rng = np.random.default_rng(5)
        image = np.stack([ground, 0.5 * ground + 100], axis=-1) + rng.normal(0, noise, (*ground.shape, 2))
        image = image.clip(1).astype(np.uint16)
        if hole is not None:
            image[hole] = 0
        raster_io.write(tmp_path / "scene.tif", image, grid, ["red", "nir"], 0)
        return tmp_path / "scene.tif"

    return write


def mosaic() -> tuple[AnyArray, list[tuple[str, Polygon]]]:
    """Five fields and five waters of 16 x 16 pixels on ground like a town, and their true outlines."""
    ground, items = np.full((100, 100), LEVELS["town"]), []
    for i in range(5):
        for row, name in ((5, "field"), (45, "water")):
            col = 2 + 20 * i
            ground[row: row + 16, col: col + 16] = LEVELS[name]
            items.append((name, box(col, row, col + 16, row + 16)))
    return ground, items


def test_a_mislabelled_polygon_is_not_trusted(scene: Callable[..., Path],
                                              frame_of: Callable[..., gpd.GeoDataFrame]) -> None:
    ground, items = mosaic()
    items[2] = ("water", items[2][1])  # a field drawn as water
    factors = polygon_confidence(scene(ground), frame_of(*items), SPECTRAL)
    assert factors.shape == (10,)
    assert factors[2] < 0.3
    assert np.delete(factors, 2).min() > 0.9


def test_the_factor_follows_the_share_of_right_pixels(scene: Callable[..., Path],
                                                      frame_of: Callable[..., gpd.GeoDataFrame]) -> None:
    ground, items = mosaic()
    for i, share in enumerate((0.25, 0.5)):
        col = 2 + 20 * i
        ground[5: 5 + int(16 * (1 - share)), col: col + 16] = LEVELS["town"]
    factors = polygon_confidence(scene(ground), frame_of(*items), SPECTRAL)
    assert factors[0] == pytest.approx(0.2 + 0.8 * 0.25, abs=0.15)
    assert factors[2] == pytest.approx(0.2 + 0.8 * 0.5, abs=0.15)
    assert factors[4] > 0.9


def test_none_vouches_for_itself() -> None:
    """Three polygons of class a look alike, the fourth, larger than they together, looks like b's."""
    counts = np.array([[90, 10], [90, 10], [90, 10], [0, 5000], [10, 90], [10, 90], [50, 50]], dtype=float)
    factors = spectral_factors(counts, np.array(["a", "a", "a", "a", "b", "b"]), 0.1)
    assert factors[3] < 0.25
    assert factors[:3].min() > 0.8


def test_by_hand() -> None:
    """Class a's second polygon against b's two, without ground outside.

    Codes as a whole: 0.45 and 0.55, so priors are 0.9 and 1.1 pixels. The rest of a is [80, 20], which gives
    [80.9, 21.1] / 102; b is [40.9, 161.1] / 202; posteriors 0.79663 and 0.20596; agreement 0.6 * 0.79663 + 0.4 *
    0.20596 = 0.56036, that of the first polygon likewise 0.66455, the median 0.61246. Pixels of b would reach 0.32556
    and 0.41891, the mean 0.37223. Blended with 20 pixels of the median: 0.56904.
    """
    counts = np.array([[80, 20], [60, 40], [20, 80], [20, 80], [0, 0]], dtype=float)
    factors = spectral_factors(counts, np.array(["a", "a", "b", "b"]), 0.2)
    assert factors[1] == pytest.approx(0.2 + 0.8 * (0.56904 - 0.37223) / (0.61246 - 0.37223), abs=1e-4)
    assert factors[[0, 2, 3]].tolist() == [1, 1, 1]


def test_small_polygons_are_drawn_towards_their_class() -> None:
    alike = [[200.0, 0.0]] * 4 + [[0.0, 200.0]] * 4
    wrong = [spectral_factors(np.array([*alike, [0, n], [0, 0]], dtype=float), np.array(["a"] * 4 + ["b"] * 4 + ["a"]),
                              0.2)[-1] for n in (1, 20, 400)]
    assert wrong[0] > 0.9
    assert wrong[1] == pytest.approx(0.6, abs=0.05)
    assert wrong[2] < 0.25


def test_nothing_to_judge_by_is_trusted(scene: Callable[..., Path],
                                        frame_of: Callable[..., gpd.GeoDataFrame]) -> None:
    ground, items = mosaic()
    items += [("town", box(40, 80, 60, 95)), ("ignore", box(2, 80, 20, 95)), ("field", box(70, 80, 90, 95)),
              ("field", box(62, 80, 62.2, 80.2))]
    path = scene(ground, hole=(slice(80, 95), slice(70, 90)))
    factors = polygon_confidence(path, frame_of(*items), SPECTRAL)
    # alone in its class, no class, no pixel with data, no pixel at all
    assert factors[10:].tolist() == [1, 1, 1, 1]


def test_constant_and_empty(scene: Callable[..., Path], frame_of: Callable[..., gpd.GeoDataFrame]) -> None:
    ground, items = mosaic()
    items[2] = ("water", items[2][1])
    path = scene(ground)
    assert polygon_confidence(path, frame_of(*items), ConfidenceParams()).tolist() == [1] * 10
    assert len(polygon_confidence(path, frame_of(*items).iloc[:0], SPECTRAL)) == 0


def test_a_scene_without_data_judges_nobody(scene: Callable[..., Path],
                                            frame_of: Callable[..., gpd.GeoDataFrame]) -> None:
    ground, items = mosaic()
    path = scene(ground, hole=(slice(None), slice(None)))
    assert polygon_confidence(path, frame_of(*items), SPECTRAL).tolist() == [1] * 10


def test_the_height_of_bands_does_not_matter(scene: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
                                             frame_of: Callable[..., gpd.GeoDataFrame]) -> None:
    """Windowed work gives what the whole gives: cores need the row before and the row after."""
    from pipeline.labels import confidence

    ground, items = mosaic()
    items[4] = ("water", items[4][1])
    path = scene(ground)
    monkeypatch.setattr(confidence, "_SAMPLE", 10**9)  # every pixel, so that the sample does not hang on bands
    whole = polygon_confidence(path, frame_of(*items), SPECTRAL)
    monkeypatch.setattr(confidence, "_ROWS", 7)
    np.testing.assert_allclose(polygon_confidence(path, frame_of(*items), SPECTRAL), whole, rtol=1e-9)


def test_params() -> None:
    task = {"bands": ["red"], "classes": [{"name": n, "color": "#000000"} for n in "ab"]}
    raw = {"seed": 1, "task": task, "acquire": {"coverage": "sparse"}}
    assert Params(raw).section(RefineParams).confidence == ConfidenceParams(method="constant", floor=0.2)
    given = Params({**raw, "refine_labels": {"confidence": {"method": "spectral", "floor": 0.5}}})
    assert given.section(RefineParams).confidence.floor == 0.5


@pytest.mark.parametrize("floor", [0, 1.1])
def test_a_floor_out_of_range_is_refused(floor: float) -> None:
    with pytest.raises(ValueError, match="floor"):
        ConfidenceParams(floor=floor)


def test_refinement_multiplies_it_in_after_moving_the_outlines(scene: Callable[..., Path],
                                                               frame_of: Callable[..., gpd.GeoDataFrame]) -> None:
    """Outlines drawn 3 pixels too far west are moved back; one is mislabelled."""
    ground, items = mosaic()
    items[2] = ("water", items[2][1])
    drawn = frame_of(*((name, translate(shape, xoff=-3)) for name, shape in items))
    params = RefineParams(outline_confidence=0.8, confidence=SPECTRAL, shift={"scene": Shift(east_m=30)})
    refined = refine_all([scene(ground)], drawn, params, 10000).labels.sort_values("source_id")
    assert refined["confidence"].iloc[2] < 0.3 * 0.8
    assert refined["confidence"].drop(refined.index[2]).between(0.9 * 0.8, 0.8).all()
    pixel = refined.crs.to_epsg(), refined.geometry.iloc[0].bounds[0] - drawn.geometry.iloc[0].bounds[0]
    assert pixel == (32748, pytest.approx(30, rel=1e-3))


def test_refinement_refuses_to_shift_an_unknown_scene(scene: Callable[..., Path],
                                                      frame_of: Callable[..., gpd.GeoDataFrame]) -> None:
    ground, items = mosaic()
    with pytest.raises(ParamsError, match=r"refine_labels.shift must name scenes"):
        refine_all([scene(ground)], frame_of(*items), RefineParams(shift={"north": Shift()}), 10000)
