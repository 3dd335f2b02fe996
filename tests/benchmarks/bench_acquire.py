"""Acquire of a Sentinel-2-like folder: time and peak memory as the scene grows, each size in a process of its own.

    python -m tests.benchmarks.bench_acquire [--sizes 1024 2048 4096 8192 10980] [--out FILE.json]

Four bands at 10 m and two at 20 m (uint16, tiled GeoTIFF) come to the 10 m grid as reflectance, with a 20 m cloud mask
dilated by 100 m; labels are a 10 m raster of classes, traced to polygons (`--points` takes 1000 points instead). Peak
memory is the process's largest resident set; what lies beyond the smallest size is growth. GDAL's block cache is held
to 64 MB, as it would otherwise grow to a twentieth of the machine's memory whatever the code does.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from affine import Affine
from shapely.geometry import Point

from pipeline.params.load import Params
from pipeline.paths import Paths
from stages import acquire

CRS = "EPSG:32633"
FINE, COARSE = ("B02", "B03", "B04", "B08"), ("B11", "B12")
BANDS = ["blue", "green", "red", "nir", "swir1", "swir2"]


def write_raster(path: Path, side: int, pixel: float, low: int, high: int, dtype: str, block: int = 16) -> None:
    """Random values constant in squares of `block` pixels, written row band by row band."""
    rng = np.random.default_rng(side + low + len(path.stem))
    with rasterio.open(path, "w", driver="GTiff", height=side, width=side, count=1, dtype=dtype, crs=CRS, tiled=True,
                       compress="deflate", transform=Affine(pixel, 0, 500000, 0, -pixel, 5000000)) as dataset:
        for row in range(0, side, 512):
            rows = min(512, side - row)
            coarse = rng.integers(low, high, (-(-rows // block), -(-side // block))).astype(dtype)
            pixels = np.kron(coarse, np.ones((block, block), dtype))[:rows, :side]
            dataset.write(pixels, 1, window=rasterio.windows.Window(0, row, side, rows))


def write_inputs(folder: Path, side: int, points: bool) -> None:
    (folder / "bands").mkdir(parents=True)
    for token in FINE:
        write_raster(folder / f"bands/{token}.tif", side, 10, 500, 6000, "uint16")
    for token in COARSE:
        write_raster(folder / f"bands/{token}.tif", side // 2, 20, 500, 6000, "uint16")
    write_raster(folder / "clouds.tif", side // 2, 20, 0, 40, "uint8")
    if points:
        xy = np.random.default_rng(1).uniform(500, 10 * side - 500, (1000, 2))
        gpd.GeoDataFrame({"class": ["1", "2"] * 500}, geometry=[Point(500000 + x, 5000000 - y) for x, y in xy],
                         crs=CRS).to_file(folder / "labels.gpkg")
    else:
        write_raster(folder / "labels.tif", side, 10, 1, 3, "uint8", block=64)


def params(points: bool) -> Params:
    scene = {"id": "s", "path": "inputs/bands", "grid": "blue", "offset": -1000, "quantification": 10000,
             "mask": {"path": "inputs/clouds.tif", "values": [0], "dilate_m": 100}}
    labels = {"path": f"inputs/labels.{'gpkg' if points else 'tif'}", "classes": {"1": "a", "2": "b"},
              "radius_m": 30 if points else 0}
    return Params({"seed": 1, "task": {"bands": BANDS, "classes": [{"name": "a", "color": "#000000"},
                                                                  {"name": "b", "color": "#ffffff"}]},
                   "acquire": {"source": "local", "coverage": "sparse", "local": {"scenes": [scene],
                                                                                  "labels": labels}}})


def measure(side: int, points: bool) -> dict[str, float]:
    """Seconds and MiB of one size, in another process."""
    with tempfile.TemporaryDirectory() as name:
        write_inputs(Path(name) / "inputs", side, points)
        done = subprocess.run([sys.executable, "-m", "tests.benchmarks.bench_acquire", "--run", name,
                               *(["--points"] if points else [])], check=True, capture_output=True, text=True,
                              env={**os.environ, "GDAL_CACHEMAX": "64", "TQDM_DISABLE": "1"})
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure every size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 10980])
    parser.add_argument("--points", action="store_true")
    parser.add_argument("--run")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.run:
        before = time.perf_counter()
        acquire.run(params(given.points), Paths(Path(given.run)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": time.perf_counter() - before, "peak_mib": peak}))
        return
    rows = []
    print(f"{'pixels':>14} {'seconds':>8} {'Mpx/s':>6} {'peak MiB':>9}")
    for side in given.sizes:
        row = {"side": side, **measure(side, given.points)}
        rows.append(row)
        print(f"{f'{side} x {side}':>14} {row['seconds']:8.1f} {side * side / row['seconds'] / 1e6:6.2f} "
              f"{row['peak_mib']:9.0f}", flush=True)
    if given.out:
        given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
