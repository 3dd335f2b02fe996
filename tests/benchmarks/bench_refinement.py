"""Refinement beside the usual way: polygonize both masks, unite them, overlay the outlines with the union.

    python -m tests.benchmarks.bench_refinement                  # synthetic city of 2048 px, both ways in turn
    python -m tests.benchmarks.bench_refinement --gewata         # Landsat over Gewata and its 740 polygons
    python -m tests.benchmarks.bench_refinement --size 10980     # ours alone, file on disk to GeoPackage and ledger

Both ways read the same scene file and the same outlines (cleaned beforehand, so that both start from disjoint ones) and
end with refined polygons in memory. The usual way is rasterio.features.shapes and geopandas.overlay. Areas are planar
on both sides; smallest areas are half a pixel off a whole number of pixels, so that planar and geodesic areas decide
alike. Ours also measures geodesic areas and keeps the ledger in that time.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from rasterio.features import rasterize, shapes
from shapely.geometry import shape

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.ground import Ground
from pipeline.geo.vector_io import read_vectors, write_geopackage
from pipeline.labels.clean import clean, near_scene
from pipeline.labels.ledger import Ledger, ScenePage
from pipeline.labels.refine import Refined, SceneJob, refine_all, refine_scene
from pipeline.labels.threads import thread_count
from pipeline.params.refine_labels import RefineParams
from pipeline.types import Window

SCALE = 10_000.0
CITY = {"rules": [
    {"target": "water", "index": "NDWI", "above": 0.0, "min_area_m2": 1450, "carve_from": ["informal_settlement"],
     "becomes": "water"},
    {"target": "vegetation", "index": "NDVI", "above": 0.35, "min_area_m2": 1450,
     "carve_from": ["informal_settlement"], "becomes": "vegetation"}]}
GEWATA = {"rules": [
    {"target": "wetland", "index": "NDWI", "above": -0.25, "min_area_m2": 9450, "carve_from": ["cropland", "forest"],
     "becomes": "wetland"},
    {"target": "forest", "index": "NDVI", "above": 0.35, "min_area_m2": 9450, "carve_from": ["cropland", "wetland"],
     "becomes": "forest"}]}
#: Bands of the formulas (first - second) / (first + second).
FORMULAS = {"NDWI": ("green", "nir"), "NDVI": ("nir", "red")}


@dataclass(frozen=True)
class Case:
    """A scene, outlines in its CRS, rules, and what digital numbers are divided by."""

    scene: Path
    outlines: Path
    params: RefineParams
    scale: float


def usual_way(case: Case) -> dict[str, float]:
    """Areas by class and action, the usual way."""
    with rasterio.open(case.scene) as dataset:
        pixels = dict(zip(dataset.descriptions, dataset.read(), strict=True))
        transform, crs, nodata = dataset.transform, dataset.crs, dataset.nodata
    outlines = gpd.read_file(case.outlines)
    frames, free = [], None
    for rule in case.params.rules:
        first, second = (pixels[name] for name in FORMULAS[rule.index])
        a, b = first.astype(np.float32) / np.float32(case.scale), second.astype(np.float32) / np.float32(case.scale)
        with np.errstate(divide="ignore", invalid="ignore"):
            mask = ((a - b) / (a + b) > rule.above) & (first != nodata) & (second != nodata)
        if free is not None:
            mask &= free
        found = [shape(geometry) for geometry, _ in shapes(mask.astype(np.uint8), mask=mask, transform=transform)]
        frame = gpd.GeoDataFrame({"target": [rule.target] * len(found)}, geometry=found, crs=crs)
        frame = frame[frame.area >= rule.min_area_m2]
        kept = rasterize(frame.geometry, out_shape=mask.shape, transform=transform) == 0
        free = kept if free is None else free & kept
        frames.append(frame)
    derived = pd.concat(frames, ignore_index=True)
    union = gpd.GeoDataFrame(geometry=[derived.union_all()], crs=crs)
    classes = {name for rule in case.params.rules for name in rule.carve_from}
    areas: dict[str, float] = {}
    same = all(set(rule.carve_from) == classes for rule in case.params.rules)
    for name, own in outlines.groupby("class"):
        carving = [f for f, rule in zip(frames, case.params.rules, strict=True) if name in rule.carve_from]
        if not carving:
            areas[f"{name} left"] = own.area.sum()
            continue
        part = union if same else gpd.GeoDataFrame(geometry=[pd.concat(carving).union_all()], crs=crs)
        areas[f"{name} left"] = gpd.overlay(own, part, how="difference", keep_geom_type=True).area.sum()
        pieces = gpd.overlay(own, pd.concat(carving), how="intersection", keep_geom_type=True)
        for target, piece in pieces.groupby("target"):
            areas[f"{target} carved out"] = areas.get(f"{target} carved out", 0) + piece.area.sum()
    added = gpd.overlay(derived, outlines, how="difference", keep_geom_type=True)
    for target, own in added.groupby("target"):
        areas[f"{target} added"] = own.area.sum()
    return areas


def our_way(case: Case) -> Refined:
    """Refined labels, areas on the ellipsoid and ledger."""
    return refine_scene(SceneJob(case.scene, read_vectors(case.outlines), case.params, case.scale))


def areas_of(refined: Refined, case: Case) -> dict[str, float]:
    """Planar areas by class and action of our way."""
    labels = refined.labels
    names = {rule.name for rule in case.params.rules}
    origin = labels["source_id"].str.replace(r"-\d+$", "", regex=True)
    carved = labels["source_id"].str.contains("/")
    action = np.where(origin.isin(names), "added", np.where(carved, "carved out", "left"))
    sums = labels.area.groupby([labels["class"].to_numpy(), action]).sum()
    return {f"{name} {done}": float(area) for (name, done), area in sums.items()}


def city(folder: Path, size: int) -> Case:
    """The synthetic city; above 2048 px the one of 2048 px, laid side by side."""
    from pipeline.sources.synthetic.write import write_scene

    side = min(size, 2048)
    cached = Path(tempfile.gettempdir()) / f"kumulus-bench-city-{side}"
    if not (cached / "labels.gpkg").exists():
        write_scene(cached, 42, side, "city")
    scene, outlines = cached / "scenes/city.tif", read_vectors(cached / "labels.gpkg")
    if size > side:
        scene, outlines = _laid_side_by_side(scene, outlines, folder, size)
    return _case(scene, outlines, folder, CITY, SCALE)


def _laid_side_by_side(scene: Path, outlines: gpd.GeoDataFrame, folder: Path,
                       size: int) -> tuple[Path, gpd.GeoDataFrame]:
    info = raster_io.describe(scene)
    image, t = raster_io.read(scene), info.grid.transform
    side, path = info.grid.height, folder / "city.tif"
    bands = [str(band) for band in info.bands]
    tiling = {"tiled": "yes", "blockxsize": "256", "blockysize": "256", "compress": "deflate", "predictor": "2"}
    grid = Grid(info.grid.crs_wkt, t, size, size)
    with raster_io.create(path, grid, image.dtype, bands, info.nodata, profile=tiling) as writer:
        for row in range(0, size, 256):
            rows = (np.arange(row, min(row + 256, size))) % side
            wide = np.take(image[rows], np.arange(size) % side, axis=1)
            writer.write(wide, Window(row, 0, len(rows), size))
    own = outlines.to_crs(info.grid.crs)
    copies = []
    for i in range(0, size, side):
        for j in range(0, size, side):
            moved = own.geometry.translate(j * t.a, i * t.e)
            copies.append(own.assign(source_id=own["source_id"] + f"-{i}-{j}").set_geometry(moved))
    return path, pd.concat(copies, ignore_index=True)


def gewata(folder: Path) -> Case:
    """Real Landsat, land cover polygons that cover half of it."""
    shared = Path(__file__).resolve().parents[3] / "shared/data"
    source = Path(os.environ.get("KUMULUS_TEST_DATA") or shared) / "gewata"
    outlines = read_vectors(source / "lulc_polygons.gpkg")
    names = [f"outline-{i:04d}" for i in range(len(outlines))]
    return _case(source / "image.tif", outlines[["class", "geometry"]].assign(source_id=names), folder, GEWATA, SCALE)


def _case(scene: Path, outlines: gpd.GeoDataFrame, folder: Path, rules: dict[str, Any], scale: float) -> Case:
    ground = Ground(raster_io.describe(scene).grid)
    disjoint = clean(near_scene(outlines, ground), ground.grid, ScenePage(Ledger(), "", ground.area_m2))
    path = folder / "outlines.gpkg"
    write_geopackage(path, {"labels": disjoint.frame(ground.grid.crs)})
    return Case(scene, path, RefineParams.model_validate(rules), scale)


def side_by_side(case: Case, repeats: int) -> None:
    """Both ways in turn: times, and areas by class and action."""
    our_way(case)  # compiled loops are loaded once a process
    usual, ours = [], []
    for _ in range(repeats):
        usual.append(_timed(lambda: usual_way(case)))
        ours.append(_timed(lambda: our_way(case)))
    slow, fast = (statistics.median(t for t, _, _ in runs) for runs in (usual, ours))
    slow_cpu, fast_cpu = (statistics.median(c for _, c, _ in runs) for runs in (usual, ours))
    print(f"usual way {slow:.2f} s, ours {fast:.3f} s ({thread_count()} threads): {slow / fast:.1f} times; "
          f"processor time {slow_cpu:.2f} s and {fast_cpu:.3f} s: {slow_cpu / fast_cpu:.1f} times")
    refined = ours[-1][2]
    their_areas, our_areas = usual[-1][2], areas_of(refined, case)
    for name in sorted(their_areas | our_areas):
        a, b = their_areas.get(name, 0.0), our_areas.get(name, 0.0)
        print(f"  {name:32s} {a / 1e4:12.3f} ha {b / 1e4:12.3f} ha  {100 * (b - a) / max(a, 1e-9):+.5f} %")
    print(f"  {len(refined.labels)} polygons, {len(refined.ledger.table())} rows in the ledger")


def _timed(way: Callable[[], Any]) -> tuple[float, float, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = way()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def file_to_file(folder: Path) -> dict[str, Any]:
    """Ours from the files on disk to refined GeoPackage and ledger, in this process."""
    begin = time.perf_counter()
    refined = refine_all([folder / "city.tif"], read_vectors(folder / "outlines.gpkg"),
                         RefineParams.model_validate(CITY), SCALE)
    overlaid = time.perf_counter() - begin
    write_geopackage(folder / "refined.gpkg", {"labels": refined.labels})
    refined.ledger.write(folder / "ledger.parquet")
    return {"seconds": round(time.perf_counter() - begin, 1), "refining": round(overlaid, 1),
            "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            "polygons": len(refined.labels), "rows": len(refined.ledger.table()),
            "corners": int(shapely.get_num_coordinates(refined.labels.geometry.to_numpy()).sum())}


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gewata", action="store_true")
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*keep_geom_type.*")
    if given.within:
        print(json.dumps(file_to_file(given.within)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.gewata:
            side_by_side(gewata(folder), given.repeats)
        elif given.size <= 2048:
            side_by_side(city(folder, given.size), given.repeats)
        else:
            city(folder, given.size)
            command = [sys.executable, "-m", "tests.benchmarks.bench_refinement", "--within", str(folder)]
            print(f"{given.size} px:", subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
