"""Uniform samples of pixels of bounded size, drawn from any rule without an index of all pixels.

A first pass counts by row which pixels a rule chooses, a second looks up the drawn ones; both go band by band.

Shape legend: N pixels, B bands.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyproj import Transformer

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.blocks import bands_of
from pipeline.types import AnyArray, BoolArray, FloatArray

#: Which pixels of a window (slices) of a scene are chosen, bool HW.
Rule = Callable[[Scene, tuple[slice, slice]], BoolArray]

#: WGS 84: semi-major axis in metres, and the square of the first eccentricity.
_AXIS_M, _ECCENTRICITY2 = 6_378_137.0, 6.694379990141316e-3


@dataclass(frozen=True)
class Sample:
    """Pixels of a store: index of the scene, row and column, each of shape N."""

    scene: npt.NDArray[np.intp]
    row: npt.NDArray[np.intp]
    col: npt.NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.scene)

    def take(self, chosen: AnyArray) -> "Sample":
        """The pixels that a mask or an index chooses."""
        return Sample(self.scene[chosen], self.row[chosen], self.col[chosen])

    def join(self, other: "Sample") -> "Sample":
        """These pixels and then the others."""
        return Sample(np.concatenate([self.scene, other.scene]), np.concatenate([self.row, other.row]),
                      np.concatenate([self.col, other.col]))


def draw(store: SceneStore, rule: Rule, count: int, rng: np.random.Generator) -> Sample:
    """Up to `count` different pixels that the rule chooses, all equally likely, in the order of scenes and rows."""
    ends = [_row_ends(scene, rule) for scene in store]
    offsets = np.concatenate([[0], np.cumsum([e[-1] for e in ends])]).astype(np.int64)
    total = int(offsets[-1])
    numbers = np.sort(rng.choice(total, min(count, total), replace=False, shuffle=False))
    cuts = np.searchsorted(numbers, offsets)
    parts = [_look_up(i, scene, rule, ends[i], numbers[cuts[i]:cuts[i + 1]] - offsets[i])
             for i, scene in enumerate(store)]
    return Sample(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("scene", "row", "col")))


def _row_ends(scene: Scene, rule: Rule) -> npt.NDArray[np.int64]:
    """Chosen pixels up to and including each row."""
    counts = np.zeros(scene.grid.height, dtype=np.int64)
    for band in bands_of(scene.grid):
        counts[band.row:band.row + band.height] = rule(scene, band.slices).sum(axis=1)
    ends: npt.NDArray[np.int64] = np.cumsum(counts)
    return ends


def _look_up(index: int, scene: Scene, rule: Rule, ends: npt.NDArray[np.int64], numbers: AnyArray) -> Sample:
    """The pixels of those numbers, counted row by row from 0 (ascending)."""
    rows = np.searchsorted(ends, numbers, side="right")
    cols = np.zeros(len(numbers), dtype=np.intp)
    for row in np.unique(rows):
        chosen = np.flatnonzero(rule(scene, (slice(row, row + 1), slice(0, scene.grid.width)))[0])
        here = rows == row
        cols[here] = chosen[numbers[here] - (ends[row - 1] if row else 0)]
    return Sample(np.full(len(numbers), index, dtype=np.intp), rows.astype(np.intp), cols)


def look_up(store: SceneStore, sample: Sample, arrays: Callable[[Scene], AnyArray]) -> AnyArray:
    """Values of the sample's pixels, N or N..., from one HW... array a scene."""
    values = [arrays(scene)[sample.row[sample.scene == i], sample.col[sample.scene == i]]
              for i, scene in enumerate(store)]
    joined = np.concatenate(values)
    result = np.empty_like(joined)
    result[np.concatenate([np.flatnonzero(sample.scene == i) for i in range(len(store.scenes))])] = joined
    return result


def image_values(store: SceneStore, sample: Sample) -> FloatArray:
    """The bands of the sample's pixels, float32 NB; 0 where a value is not finite."""
    values = look_up(store, sample, lambda scene: scene.image).astype(np.float32)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def positions_m(grids: Sequence[Grid], sample: Sample) -> npt.NDArray[np.float64]:
    """Geocentric coordinates (x, y, z) in metres of pixel centres on the WGS 84 ellipsoid, N3.

    Straight distances between them are those on the ground to 1e-5 within 100 km, whatever the scenes' CRSs.

    Raises:
        SceneError: a grid has no CRS.
    """
    lonlat = np.zeros((len(sample), 2))
    for i, grid in enumerate(grids):
        here = sample.scene == i
        if not here.any():
            continue
        if grid.crs is None:
            raise SceneError("a grid must have a CRS where metres are meant: got none; set the scene's crs")
        col, row, t = sample.col[here] + 0.5, sample.row[here] + 0.5, grid.transform
        to_lonlat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
        x, y = t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f
        lonlat[here] = np.stack(to_lonlat.transform(x, y), axis=1)
    lon, lat = np.radians(lonlat).T
    normal = _AXIS_M / np.sqrt(1 - _ECCENTRICITY2 * np.sin(lat) ** 2)
    return np.stack([normal * np.cos(lat) * np.cos(lon), normal * np.cos(lat) * np.sin(lon),
                     normal * (1 - _ECCENTRICITY2) * np.sin(lat)], axis=1)
