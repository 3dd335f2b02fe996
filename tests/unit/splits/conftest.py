"""Hand-made scene stores for the splits tests."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from pyproj import CRS

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.scenes.store import SceneStore

Labels = Mapping[str, npt.NDArray[np.uint8]]
StoreMaker = Callable[..., SceneStore]


def grid_of(shape: tuple[int, int], crs: str = "EPSG:32748", pixel: float = 10.0,
            origin: tuple[float, float] = (700_000.0, 9_310_000.0)) -> Grid:
    transform = Affine(pixel, 0, origin[0], 0, -pixel, origin[1])
    return Grid(CRS.from_user_input(crs).to_wkt(), transform, *shape)


@pytest.fixture
def make_store(tmp_path: Path) -> StoreMaker:
    def make(labels: Labels, classes: tuple[str, ...] = ("a", "b"), valid: Labels | None = None,
             grids: Mapping[str, Grid] | None = None) -> SceneStore:
        folder = tmp_path / "data/scenes"
        entries = {}
        for id_, label in labels.items():
            grid = (grids or {}).get(id_) or grid_of(label.shape)
            mask = (valid or {}).get(id_, np.ones(label.shape, dtype=np.uint8))
            image = np.stack([label.astype(np.uint16) * 100 + b for b in range(3)], axis=-1)
            write(folder / id_ / "image.tif", image, grid, ["blue", "green", "red"])
            write(folder / id_ / "labels.tif", label, grid, ["label"], nodata=255)
            write(folder / id_ / "valid.tif", mask, grid, ["valid"])
            entries[id_] = {"grid": grid.to_dict(), "dtype": "uint16", "crs_name": grid.crs_name}
        manifest = {"bands": ["blue", "green", "red"], "classes": list(classes), "coverage": "sparse",
                    "scenes": entries}
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return SceneStore.open(folder)
    return make
