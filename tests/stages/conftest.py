"""A small project of the user's own files: one scene of 24 x 24 pixels with four bands, and square labels."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
from affine import Affine
from pyproj import CRS
from shapely.geometry import box

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.params.load import Params
from pipeline.paths import Paths

UTM = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700000, 0, -10, 9310000), 24, 24)
BANDS = ("blue", "green", "red", "nir")


def squares(*items: tuple[Any, tuple[int, int, int, int]], column: str = "kind") -> gpd.GeoDataFrame:
    """(value, (left, top, right, bottom) in pixels) as polygons in the scene's CRS."""
    shapes = [box(700000 + 10 * a, 9310000 - 10 * d, 700000 + 10 * c, 9310000 - 10 * b) for _, (a, b, c, d) in items]
    return gpd.GeoDataFrame({column: [v for v, _ in items]}, geometry=shapes, crs=UTM.crs)


@dataclass
class LocalProject:
    """A working folder with inputs/ and params; `write_*` replace an input, `params` lays changes over the defaults."""

    root: Path
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> Paths:
        return Paths(self.root)

    def write_scene(self, image: np.ndarray | None = None, bands: tuple[str, ...] | None = BANDS, grid: Grid = UTM,
                    nodata: float | None = 0, name: str = "scene") -> None:
        if image is None:
            image = np.random.default_rng(1).integers(500, 900, (*grid.shape, 4)).astype(np.uint16)
        raster_io.write(self.root / f"inputs/{name}.tif", image, grid, bands or [""] * image.shape[2], nodata)

    def write_labels(self, frame: gpd.GeoDataFrame, name: str = "labels.geojson", **options: Any) -> None:
        (self.root / "inputs" / name).unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided")
            pyogrio.write_dataframe(frame, self.root / "inputs" / name, **options)
        self.changes["labels"] = {"path": f"inputs/{name}"}

    def params(self, coverage: str = "sparse", labels: dict[str, Any] | None = None,
               scene: dict[str, Any] | None = None, reference: dict[str, Any] | None = None,
               rules: list[dict[str, Any]] | None = None, bands: tuple[str, ...] = BANDS,
               scenes: list[dict[str, Any]] | None = None) -> Params:
        given = {"path": "inputs/labels.geojson", "class_column": "kind", "classes": {"1": "town", "2": "water"},
                 **self.changes.get("labels", {}), **(labels or {})}
        one = {"id": "scene", "path": "inputs/scene.tif", **(scene or {})}
        local = {"scenes": scenes or [one], "labels": given, **({"reference": reference} if reference else {})}
        names = ("ground", "town", "water", "vegetation")
        return Params({
            "seed": 1,
            "task": {"bands": bands, "background": "ground" if coverage == "exhaustive" else "",
                     "classes": [{"name": n, "color": f"#0{i}0000"} for i, n in enumerate(names)]},
            "acquire": {"source": "local", "inputs": "inputs", "coverage": coverage, "local": local},
            "refine_labels": {"rules": rules or []},
        })


@pytest.fixture
def local_project(tmp_path: Path) -> Callable[[], LocalProject]:
    """A function that makes the project, with a scene and two labels that fit."""

    def make() -> LocalProject:
        (tmp_path / "inputs").mkdir()
        project = LocalProject(tmp_path)
        project.write_scene()
        project.write_labels(squares((1, (2, 2, 10, 10)), (2, (12, 2, 20, 10))).to_crs(4326))
        return project

    return make
