"""Write a set of mountain images: scenes, one table of outlines, truth and strata, with equal bytes for equal seeds."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
from affine import Affine

from pipeline.fanout import fan_out
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid, parse_crs
from pipeline.geo.vector_io import write_geopackage
from pipeline.sources.synthetic.glacier.domain import DOMAINS, draw_shares
from pipeline.sources.synthetic.glacier.ice import inner
from pipeline.sources.synthetic.glacier.outlines import Outline, draw_outlines
from pipeline.sources.synthetic.glacier.sensor import observe
from pipeline.sources.synthetic.glacier.spectra import BANDS
from pipeline.sources.synthetic.glacier.strata import STRATA, strata_of
from pipeline.sources.synthetic.glacier.surface import make_surface
from pipeline.sources.synthetic.glacier.terrain import PIXEL_M
from pipeline.types import IGNORE_INDEX, UInt8Array, Window

CRS_CODE = "EPSG:32643"
#: Near this corner the images lie, in the Karakoram.
CORNER = (380_000.0, 4_050_000.0)
#: Images in a row of the map.
IMAGES_A_ROW = 8
TILED = {"tiled": "yes", "blockxsize": "256", "blockysize": "256", "compress": "deflate", "predictor": "2"}


@dataclass(frozen=True)
class ImageJob:
    """One image to make: where it goes, the seed of the set, its number, size and domain."""

    file: Path
    seed: int
    image: int
    size_px: int
    domain: str


class Made(NamedTuple):
    """What a made image leaves besides its file."""

    classes: UInt8Array
    strata: UInt8Array
    outlines: list[Outline]


def image_id(image: int) -> str:
    """The scene id of an image: mountain-000 and so on."""
    return f"mountain-{image:03d}"


def _cell(image: int) -> tuple[int, int]:
    """Row and column of an image on the map's lattice of image-sized cells: every other one stays empty."""
    row, col = divmod(image, IMAGES_A_ROW)
    return 2 * row, 2 * col


def _grid(row: int, col: int, rows: int, cols: int, size_px: int) -> Grid:
    """The grid of `rows` x `cols` cells from cell (row, col) on; cells begin at multiples of their side in the CRS."""
    side = size_px * PIXEL_M
    west, north = (math.floor(value / side) * side for value in CORNER)
    wkt = parse_crs(CRS_CODE, "the synthetic images").to_wkt()
    transform = Affine(PIXEL_M, 0.0, west + col * side, 0.0, -PIXEL_M, north - row * side)
    return Grid(wkt, transform, rows * size_px, cols * size_px)


def image_grid(image: int, size_px: int) -> Grid:
    """The grid of an image: 30 m pixels, one cell of a lattice of blocks `size_px` wide, apart from all others."""
    return _grid(*_cell(image), 1, 1, size_px)


def make_image(job: ImageJob) -> Made:
    """Make an image and write it."""
    domain = DOMAINS[job.domain]
    surface = make_surface(job.seed, job.image, job.size_px, draw_shares(job.seed, job.image), domain)
    counts, classes = observe(job.seed, job.image, surface, domain), inner(surface.classes)
    grid = image_grid(job.image, job.size_px)
    raster_io.write(job.file, counts, grid, BANDS, 0, profile=TILED)
    return Made(classes, strata_of(surface), draw_outlines(job.seed, job.image, classes, grid))


def write_images(out: Path, seed: int, images: int, size_px: int, domain: str) -> int:
    """Make the images of a seed and write them below `out`; returns the number of outlines.

    Writes scenes/mountain-<number>.tif, labels.gpkg and, in reference/, truth.tif, strata.tif and strata.json. Image k
    is the same in a set of any length.

    Args:
        out: the staged data/raw.
        seed: of all images.
        images: how many.
        size_px: their side in 30 m pixels, a multiple of 64.
        domain: one of `domain.DOMAINS`.
    """
    (out / "scenes").mkdir(parents=True, exist_ok=True)
    jobs = [ImageJob(out / "scenes" / f"{image_id(i)}.tif", seed, i, size_px, domain) for i in range(images)]
    made = fan_out(make_image, jobs, "images")
    _write_mosaic(out / "reference/truth.tif", [m.classes for m in made], size_px, "class", IGNORE_INDEX)
    _write_mosaic(out / "reference/strata.tif", [m.strata for m in made], size_px, "stratum", 0)
    names = {str(code): name for code, name in enumerate(STRATA, start=1)}
    (out / "reference/strata.json").write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")
    frame = outline_frame([m.outlines for m in made])
    write_geopackage(out / "labels.gpkg", {"labels": frame})
    return len(frame)


def outline_frame(outlines: list[list[Outline]]) -> gpd.GeoDataFrame:
    """The outlines of all images as a table with the columns `class` and `source_id`; a later one lies on top."""
    rows = [(f"{image_id(i)}-{n:03d}", o) for i, drawn in enumerate(outlines) for n, o in enumerate(drawn)]
    table = {"class": [o.class_name for _, o in rows], "source_id": [name for name, _ in rows]}
    return gpd.GeoDataFrame(table, geometry=[o.geometry for _, o in rows], crs=CRS_CODE)


def _write_mosaic(file: Path, parts: list[UInt8Array], size_px: int, band: str, nodata: int) -> None:
    """One raster that covers all images, `nodata` between them, written a row of cells at a time."""
    cells = [_cell(image) for image in range(len(parts))]
    rows, cols = max(r for r, _ in cells) + 1, max(c for _, c in cells) + 1
    file.parent.mkdir(exist_ok=True)
    with raster_io.create(file, _grid(0, 0, rows, cols, size_px), np.uint8, (band,), nodata, profile=TILED) as writer:
        for row in range(rows):
            strip = np.full((size_px, cols * size_px), nodata, dtype=np.uint8)
            for (r, c), part in zip(cells, parts, strict=True):
                if r == row:
                    strip[:, c * size_px : (c + 1) * size_px] = part
            writer.write(strip, Window(row * size_px, 0, *strip.shape))
