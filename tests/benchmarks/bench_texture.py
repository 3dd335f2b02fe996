"""GLCM texture beside scikit-image, which is called for each pixel of a sample; then throughput by window and levels.

    python -m tests.benchmarks.bench_texture [--size 1024] [--sample 2000] [--repeats 3] [--out table.json]

Both sides see the same reflectance and compute the same properties for the same parameters, in one process on one core;
contrast alone at 8 levels is the case that suits scikit-image best. Ratios come from the median of the repeats. The
image is patches of two sizes with fine grain; `--scene FILE --band NAME --scale 10000` takes a raster's band instead.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.features.texture import texture
from pipeline.geo.nodata import has_data
from pipeline.geo.raster_io import describe, read
from pipeline.params.task import TEXTURE_PROPERTIES, TextureParams
from pipeline.paths import write_json
from pipeline.types import FloatArray

ANGLES = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]

#: Windows and levels whose throughput is shown.
GRID = [(5, 32), (7, 16), (7, 32), (7, 64), (7, 128), (11, 32), (15, 32), (21, 32), (31, 32)]


def drawn(size: int) -> FloatArray:
    """Reflectance (size, size): patches of 5 and of 40 px, and grain."""
    rng = np.random.default_rng(7)
    parts = [rng.random((size // n + 1,) * 2).repeat(n, 0).repeat(n, 1)[:size, :size] for n in (40, 5)]
    return (0.05 + 0.2 * parts[0] + 0.15 * parts[1] + rng.normal(0, 0.01, (size, size))).astype(np.float32)


def band_of(path: Path, name: str, scale: float, size: int) -> FloatArray:
    """Reflectance of the upper left part of a band."""
    image, info = read(path)[:size, :size], describe(path)
    values = image[..., info.bands.index(name)] if image.ndim == 3 else image
    return np.where(has_data(values, info.nodata), values / scale, np.nan).astype(np.float32)


def timed(function: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


def by_skimage(levels: np.ndarray, places: np.ndarray, names: Sequence[str],
               params: TextureParams) -> dict[str, np.ndarray]:
    """The properties at each place, a call a pixel."""
    from skimage.feature import graycomatrix, graycoprops

    radius = params.window_px // 2
    found = np.empty((len(names), len(places)))
    for k, (row, col) in enumerate(places):
        window = levels[row - radius:row + radius + 1, col - radius:col + radius + 1]
        matrix = graycomatrix(window, [params.distance_px], ANGLES, params.levels, symmetric=True, normed=True)
        for p, name in enumerate(names):
            found[p, k] = graycoprops(matrix, name).mean()
    return dict(zip(names, found, strict=True))


def compare(image: FloatArray, names: Sequence[str], params: TextureParams, sample: int,
            repeats: int) -> dict[str, Any]:
    """Both sides' speed, their ratio, and the largest relative difference of each property."""
    radius = params.window_px // 2
    steps = np.floor((image.astype(np.float64) - params.low) * (params.levels / (params.high - params.low)))
    levels = np.nan_to_num(np.clip(steps, 0, params.levels - 1)).astype(np.uint8)
    places = np.random.default_rng(1).integers(radius, np.array(image.shape) - radius, (sample, 2))
    full = [not np.isnan(image[r - radius:r + radius + 1, c - radius:c + radius + 1]).any() for r, c in places]
    places = places[full]
    theirs = statistics.median(timed(lambda: by_skimage(levels, places, names, params), repeats)) / len(places)
    ours = statistics.median(timed(lambda: texture(image, names, params), repeats)) / image.size
    expected, found = by_skimage(levels, places, names, params), texture(image, names, params)
    # Correlations cancel to about 0 at some pixels; below 1e-6 differences count as if the value were 1e-6.
    differences = {name: float(np.max(np.abs(found[name][tuple(places.T)] - values) / np.maximum(np.abs(values), 1e-6)))
                   for name, values in expected.items()}
    return {"window_px": params.window_px, "levels": params.levels, "pixels_compared": len(places),
            "scikit_image_px_s": 1 / theirs, "ours_px_s": 1 / ours, "ratio": theirs / ours, "differences": differences}


def throughput(image: FloatArray, repeats: int) -> list[dict[str, float]]:
    """Pixels a second by window and levels: all five properties, the three of box sums, and one."""
    rows = []
    for window, levels in GRID:
        params = TextureParams(window_px=window, levels=levels)
        sets = {"five": TEXTURE_PROPERTIES, "moments": ("contrast", "homogeneity", "correlation"),
                "entropy": ("entropy",)}
        speeds = {name: image.size / statistics.median(timed(partial(texture, image, chosen, params), repeats))
                  for name, chosen in sets.items()}
        rows.append({"window_px": window, "levels": levels, **speeds})
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--sample", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--band", default="nir")
    parser.add_argument("--scale", type=float, default=10000.0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    image = band_of(given.scene, given.band, given.scale, given.size) if given.scene else drawn(given.size)
    start = time.perf_counter()
    texture(image[:64, :64], TEXTURE_PROPERTIES, TextureParams())
    print(f"first call (compilation or its cache): {time.perf_counter() - start:.2f} s; {image.shape} px")
    cases = [(("contrast",), TextureParams(levels=8)), (TEXTURE_PROPERTIES, TextureParams()),
             (TEXTURE_PROPERTIES, TextureParams(window_px=11, levels=64, distance_px=2))]
    beside = [compare(image, names, params, given.sample, given.repeats) for names, params in cases]
    for row in beside:
        print(f"window {row['window_px']} px, {row['levels']} levels, {len(row['differences'])} properties: "
              f"scikit-image {row['scikit_image_px_s']:,.0f} px/s, ours {row['ours_px_s']:,.0f} px/s: "
              f"{row['ratio']:,.0f} times")
        print(f"  largest relative difference at {row['pixels_compared']} pixels: "
              + ", ".join(f"{name} {value:.1e}" for name, value in row["differences"].items()))
    speeds = throughput(image, given.repeats)
    print("window levels | Mpx/s: five properties, moments (contrast, homogeneity, correlation), entropy")
    for row in speeds:
        print(f"{row['window_px']:6d} {row['levels']:6d} | " + "  ".join(f"{row[k] / 1e6:6.2f}" for k in
                                                                      ("five", "moments", "entropy")))
    if given.out:
        write_json(given.out, {"beside_scikit_image": beside, "throughput_px_s": speeds})


if __name__ == "__main__":
    main()
