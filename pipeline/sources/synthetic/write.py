"""Write one synthetic scene: image, noisy labels, truth and strata, with equal bytes for equal seeds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity
from affine import Affine

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid, parse_crs
from pipeline.geo.vector_io import write_geopackage
from pipeline.sources.synthetic import sensor
from pipeline.sources.synthetic.city import Fields, draw_rows
from pipeline.sources.synthetic.noise import PIXEL_M, SUBPIXELS, FloatArray
from pipeline.sources.synthetic.outlines import Outlines, draw_outlines
from pipeline.sources.synthetic.plan import Plan, Zone, make_plan
from pipeline.sources.synthetic.sites import HECTARE_M2
from pipeline.sources.synthetic.spectra import BANDS

CRS_CODE = "EPSG:32748"
ORIGIN = (694_000.0, 9_329_000.0)
CLASSES = ("background", "informal_settlement", "water", "vegetation")
UNKNOWN = 255
BAND_ROWS = 32
TILED = {"tiled": "yes", "blockxsize": "256", "blockysize": "256", "compress": "deflate", "predictor": "2"}

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """A finished scene in memory.

    `counts` (4, h, w) uint16, 0 = nodata; `truth` (h, w) class ids, 255 = unknown; `strata` (h, w) zones,
    0 = outside; `outlines` in scene metres.
    """

    plan: Plan
    counts: npt.NDArray[np.uint16]
    truth: ByteArray
    strata: ByteArray
    outlines: Outlines


def majority(fine: ByteArray, codes: int) -> ByteArray:
    """The most frequent code of each 5x5 block (the lowest on a tie), shape (h // 5, w // 5)."""
    rows, cols = fine.shape[0] // SUBPIXELS, fine.shape[1] // SUBPIXELS
    best = np.zeros((rows, cols), dtype=np.uint8)
    most = np.full((rows, cols), -1, dtype=np.int16)
    for code in range(codes):
        same = (fine == code).reshape(rows, SUBPIXELS, cols * SUBPIXELS).sum(1, dtype=np.uint8)
        votes = same.reshape(rows, cols, SUBPIXELS).sum(2, dtype=np.int16)
        better = votes > most
        best[better] = code
        most[better] = votes[better]
    return best


def _draw(plan: Plan) -> tuple[FloatArray, ByteArray, ByteArray]:
    """Image (4, h, w) before weather, truth and strata, drawn in bands of rows."""
    size = plan.size_px
    fields = Fields.draw(plan.seed, size)
    image = np.empty((len(BANDS), size, size), dtype=np.float32)
    truth, strata = np.empty((size, size), dtype=np.uint8), np.empty((size, size), dtype=np.uint8)
    for top in range(0, size, BAND_ROWS):
        bottom = min(top + BAND_ROWS, size)
        start, stop = top * SUBPIXELS, bottom * SUBPIXELS
        above, below = min(sensor.REACH, start), min(sensor.REACH, size * SUBPIXELS - stop)
        ground, classes = draw_rows(plan, fields, start - above, stop + below)
        missing = ((0, 0), (sensor.REACH - above, sensor.REACH - below), (0, 0))
        image[:, top:bottom] = sensor.observe(np.pad(ground, missing, mode="edge"))
        truth[top:bottom] = majority(classes[above : above + stop - start], len(CLASSES))
        strata[top:bottom] = majority(plan.zone[start:stop], len(Zone) + 1)
    return image, truth, strata


def make_scene(seed: int, size_px: int) -> Scene:
    """Make the scene of a seed in memory; `size_px` is a multiple of 64, at least 256."""
    plan = make_plan(seed, size_px)
    image, truth, strata = _draw(plan)
    outside = sensor.nodata_corner(seed, size_px)
    counts = sensor.quantise(sensor.weather(image, seed), outside)
    truth[outside] = UNKNOWN
    strata[outside] = 0
    outlines = draw_outlines(seed, plan.patches, plan.lines.extent_m)
    return Scene(plan, counts, truth, strata, outlines)


def scene_grid(size_px: int) -> Grid:
    """The scene's grid: 10 m pixels in EPSG:32748 from its north-west corner."""
    wkt = parse_crs(CRS_CODE, "the synthetic scene").to_wkt()
    return Grid(wkt, Affine(PIXEL_M, 0.0, ORIGIN[0], 0.0, -PIXEL_M, ORIGIN[1]), size_px, size_px)


def outline_frame(outlines: Outlines) -> gpd.GeoDataFrame:
    """The outlines as a table in EPSG:4326 with the columns `class` and `source_id`."""
    to_map = [1, 0, 0, -1, *ORIGIN]
    geometry = [shapely.affinity.affine_transform(shape, to_map) for shape in outlines.geometries]
    source = [f"outline-{number:04d}" for number in range(len(geometry))]
    table = {"class": [CLASSES[1]] * len(geometry), "source_id": source}
    return gpd.GeoDataFrame(table, geometry=geometry, crs=CRS_CODE).to_crs("EPSG:4326")


def write_scene(out_dir: Path, seed: int, size_px: int, scene_id: str = "synthetic") -> dict[str, Any]:
    """Make the scene of a seed and write it below `out_dir`.

    Writes scenes/<scene_id>.tif, labels.gpkg and, in reference/, truth.tif, strata.tif and strata.json.

    Args:
        size_px: side of the scene in 10 m pixels, a multiple of 64, at least 256.

    Returns:
        Counts of patches, outlines and missing outlines, and the share of each class of the known pixels.
    """
    scene = make_scene(seed, size_px)
    grid, reference = scene_grid(size_px), out_dir / "reference"
    image = np.moveaxis(scene.counts, 0, -1)
    raster_io.write(out_dir / "scenes" / f"{scene_id}.tif", image, grid, BANDS, 0, profile=TILED)
    raster_io.write(reference / "truth.tif", scene.truth, grid, ("class",), UNKNOWN, profile=TILED)
    raster_io.write(reference / "strata.tif", scene.strata, grid, ("stratum",), 0, profile=TILED)
    names = {str(int(zone)): zone.name.lower() for zone in Zone}
    (reference / "strata.json").write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")
    write_geopackage(out_dir / "labels.gpkg", {"labels": outline_frame(scene.outlines)})
    return summarise(scene)


def summarise(scene: Scene) -> dict[str, Any]:
    """Counts and shares of a scene, as plain numbers."""
    known = scene.truth != UNKNOWN
    settlements = [patch for patch in scene.plan.patches if patch.kind == "settlement"]
    return {
        "size_px": scene.plan.size_px,
        "patches": len(settlements),
        "patches_under_5_ha": sum(patch.polygon.area < 5 * HECTARE_M2 for patch in settlements),
        "outlines": len(scene.outlines.geometries),
        "missing": len(scene.outlines.missing),
        "class_shares": {
            name: round(float((scene.truth[known] == code).mean()), 6) for code, name in enumerate(CLASSES)
        },
        "nodata_share": round(float(1 - known.mean()), 6),
    }
