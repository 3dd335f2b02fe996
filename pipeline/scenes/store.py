"""Open the scene store that rasterize wrote: every raster of a scene as a memory-mapped array on one grid.

Layout of data/scenes: manifest.json and, for each scene, image.tif, labels.tif, labels_raw.tif, weight.tif, valid.tif,
and where there is an independent reference also reference.tif and (named zones for reporting) strata.tif.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import memory_map
from pipeline.types import AnyArray, FloatArray, UInt8Array


@dataclass(frozen=True)
class Scene:
    """One scene of the store. Arrays are read-only memory maps; pixels are touched only when sliced."""

    id: str
    folder: Path
    grid: Grid
    bands: tuple[str, ...]
    strata: Mapping[int, str]

    def __getstate__(self) -> dict[str, Any]:
        """Without opened maps, which would be copied whole into worker processes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def image(self) -> AnyArray:
        """Digital numbers, shape HWB, bands in the task's order; meaningless where `valid` is 0."""
        array = memory_map(self.folder / "image.tif")
        return array if array.ndim == 3 else array[..., None]

    @cached_property
    def labels(self) -> UInt8Array:
        """Refined class ids, shape HW, 255 = ignore."""
        return memory_map(self.folder / "labels.tif")

    @cached_property
    def labels_raw(self) -> UInt8Array:
        """Class ids of the labels as they came, shape HW, 255 = ignore."""
        return memory_map(self.folder / "labels_raw.tif")

    @cached_property
    def weight(self) -> FloatArray:
        """Confidence of the refined label, float32 from 0 to 1, shape HW."""
        return memory_map(self.folder / "weight.tif")

    @cached_property
    def valid(self) -> UInt8Array:
        """1 where every band has data, else 0, shape HW."""
        return memory_map(self.folder / "valid.tif")

    @property
    def reference(self) -> UInt8Array | None:
        """Class ids of the independent reference, shape HW, 255 = unknown; None where there is none."""
        path = self.folder / "reference.tif"
        return memory_map(path) if path.exists() else None

    @property
    def zones(self) -> UInt8Array | None:
        """Zone ids named by `strata`, shape HW, 0 = none; None where there is none."""
        path = self.folder / "strata.tif"
        return memory_map(path) if path.exists() else None


@dataclass(frozen=True)
class SceneStore:
    """All scenes of data/scenes, in the order of their ids."""

    bands: tuple[str, ...]
    classes: tuple[str, ...]
    scenes: tuple[Scene, ...]

    @classmethod
    def open(cls, folder: Path) -> "SceneStore":
        """Read the manifest.

        Raises:
            SceneError: there is no store.
        """
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise SceneError(f"scene store {folder} must hold manifest.json: not found; "
                             "run `dvc repro rasterize`") from error
        strata = {int(k): v for k, v in manifest.get("strata", {}).items()}
        bands = tuple(manifest["bands"])
        scenes = tuple(Scene(id_, folder / id_, Grid.from_dict(entry["grid"]), bands, strata)
                       for id_, entry in sorted(manifest["scenes"].items()))
        return cls(bands, tuple(manifest["classes"]), scenes)

    def __iter__(self) -> Iterator[Scene]:
        return iter(self.scenes)
