"""Time and peak memory of refine_labels, rasterize and spatial_split against the size of the scene.

    python -m tests.benchmarks.bench_scaling                             # 2048, 4096, 8192 and 10980 px a side
    python -m tests.benchmarks.bench_scaling --sizes 1024 2048 --stages rasterize spatial_split
    python -m tests.benchmarks.bench_scaling --dir /var/tmp/scaling --keep --out scaling.json

The scene is the synthetic city of 1024 px, laid side by side until it fills the size: pixels (four bands, uint16),
outlines (about 100 a tile; `--copies 9` lays nine times as many), truth and zones. The stages run with
recipes/settlement.yaml, each in a process of its own, one after the other; the split only reports that ground repeats
itself. The folder needs about 30 bytes a pixel: 4 GB for 10980 px; a size's files are removed before the next is made,
unless --keep. Nothing else should run on the machine meanwhile.

Peak memory is that of anonymous pages (RssAnon of the process and its children in /proc, sampled every 20 ms): pages
of memory-mapped files are the page cache's and can be dropped at any time. `all` is ru_maxrss, which counts them too.
The growth is the exponent of a power law fitted to all sizes against the number of pixels: 1 is linear, 0 flat.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import read_vectors, write_geopackage
from pipeline.geo.windows import row_bands
from pipeline.params.load import Params
from pipeline.paths import Paths

STAGES = ("refine_labels", "rasterize", "spatial_split")
ROOT, TILE, SCENE = Path(__file__).resolve().parents[2], 1024, "synthetic"
PIXEL_BYTES = 30


@dataclass(frozen=True)
class Measured:
    """One stage on one size; memory in MiB."""

    stage: str
    size: int
    seconds: float
    anonymous: float
    everything: float


def params() -> Params:
    """The settlement recipe on one tile."""
    raw: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "recipes/settlement.yaml").read_text("utf-8"))
    raw["acquire"]["synthetic"]["size_px"] = TILE
    raw["spatial_split"]["near_duplicates"] = "report"
    return Params(raw)


def make_scene(tile: Path, root: Path, size: int, copies: int) -> int:
    """Lay the tile's scene, outlines, truth and zones side by side under `root`; returns the number of outlines."""
    shutil.rmtree(root / "data", ignore_errors=True)
    raw, new = Paths(tile).raw, Paths(root).raw
    (new / "reference").mkdir(parents=True)
    source = raster_io.describe(raw / f"scenes/{SCENE}.tif").grid
    grid = Grid(source.crs_wkt, source.transform, size, size)
    for name in (f"scenes/{SCENE}.tif", "reference/truth.tif", "reference/strata.tif"):
        info, pixels = raster_io.describe(raw / name), np.atleast_3d(raster_io.read(raw / name))
        bands = [band or "x" for band in info.bands]
        with raster_io.create(new / name, grid, pixels.dtype, bands, info.nodata) as writer:
            for band in row_bands(size, size, TILE):
                row = np.tile(pixels[: band.height], (1, math.ceil(size / TILE), 1))[:, :size]
                writer.write(row if row.shape[2] > 1 else row[..., 0], band)
    labels = read_vectors(raw / "labels.gpkg", "labels")
    metric, (width, height) = labels.to_crs(grid.crs), grid.pixel_size
    frames = []
    for number in range(math.ceil(size / TILE) ** 2):
        row, col = divmod(number, math.ceil(size / TILE))
        for copy in range(copies):  # a third of a tile apart, so that copies overlap as outlines do
            east = (col + copy % 3 / 3) * TILE * width
            south = (row + copy // 3 / 3) * TILE * height
            moved = metric.translate(east, -south)
            frames.append(metric.assign(source_id=metric["source_id"] + f"-{number}-{copy}").set_geometry(moved))
    joined = gpd.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=metric.crs).to_crs(labels.crs)
    write_geopackage(new / "labels.gpkg", {"labels": joined})
    for name in ("catalog.json", "reference/strata.json"):
        shutil.copyfile(raw / name, new / name)
    return len(joined)


def measure(stage: str, root: Path, size: int) -> Measured:
    """Run a stage in a process of its own, and watch it."""
    module = "tests.benchmarks.bench_scaling"
    command = [sys.executable, "-W", "ignore", "-m", module, "--run", stage, "--dir", str(root)]
    start, peak = time.perf_counter(), 0
    child = subprocess.Popen(command, cwd=ROOT)
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        peak = max(peak, sum(_anonymous_kib(member) for member in _family(child.pid)))
        time.sleep(0.02)
    if status:
        raise SystemExit(f"{stage} at {size} px ended with status {os.waitstatus_to_exitcode(status)}")
    return Measured(stage, size, time.perf_counter() - start, peak / 1024, usage.ru_maxrss / 1024)


def _family(pid: int) -> list[int]:
    """A process and its descendants, as far as they live."""
    found = [pid]
    for parent in found:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def _anonymous_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def growth(sizes: list[int], values: list[float]) -> float:
    """Exponent of the power law that fits values best against pixels; NaN for one size."""
    if len(sizes) < 2:
        return math.nan
    pixels = np.log([size**2 for size in sizes])
    return float(np.polyfit(pixels, np.log(values), 1)[0])


def show(results: list[Measured], stages: list[str]) -> None:
    """The table, and the growth."""
    print(f"\n{'stage':<15}{'size px':>9}{'time s':>9}{'peak MiB':>10}{'all MiB':>9}")
    for stage in stages:
        own = [r for r in results if r.stage == stage]
        for r in own:
            print(f"{stage:<15}{r.size:>9}{r.seconds:>9.1f}{r.anonymous:>10.0f}{r.everything:>9.0f}")
        sizes = [r.size for r in own]
        exponents = (growth(sizes, [r.seconds for r in own]), growth(sizes, [r.anonymous for r in own]))
        print(f"{'':<15}{'growth':>9}{exponents[0]:>9.2f}{exponents[1]:>10.2f}")


def main() -> None:
    """Make the scenes, run the stages, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 4096, 8192, 10980])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES),
                        help="those shown; earlier ones run too, unless --reuse")
    parser.add_argument("--copies", type=int, default=1, choices=range(1, 10), help="lay a tile's outlines so often")
    parser.add_argument("--dir", type=Path, help="an existing folder to work in")
    parser.add_argument("--keep", action="store_true", help="keep the files of each size")
    parser.add_argument("--reuse", action="store_true", help="take the scene and earlier stages' files kept before")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON, too")
    parser.add_argument("--run", choices=("acquire", *STAGES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        __import__(f"stages.{given.run}", fromlist=["run"]).run(params(), Paths(given.dir))
        return
    with tempfile.TemporaryDirectory(dir=given.dir, prefix="scaling-") as scratch:
        folder = given.dir if given.dir and (given.keep or given.reuse) else Path(scratch)
        free, needed = shutil.disk_usage(folder).free, PIXEL_BYTES * max(given.sizes) ** 2
        if free < needed:
            raise SystemExit(f"{folder} must have {needed / 1e9:.1f} GB free: got {free / 1e9:.1f}; set another --dir")
        results = []
        last = max(STAGES.index(stage) for stage in given.stages)
        measure("acquire", folder / "tile", TILE)
        for size in given.sizes:
            root = folder / str(size)
            if not given.reuse:
                print(f"{size} px: {make_scene(folder / 'tile', root, size, given.copies):,} outlines", flush=True)
            for stage in given.stages if given.reuse else STAGES[: last + 1]:
                results.append(measure(stage, root, size))
                print(f"  {stage}: {results[-1].seconds:.1f} s, {results[-1].anonymous:.0f} MiB", flush=True)
            if not given.keep:
                shutil.rmtree(root)
        show(results, [stage for stage in STAGES if stage in given.stages])
    if given.out:
        given.out.write_text(json.dumps([vars(r) for r in results], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
