"""Move outlines by metres on the ground, to where a measured registration offset says they belong."""

from collections.abc import Collection, Mapping

import geopandas as gpd
import numpy as np
import shapely

from pipeline.errors import ParamsError
from pipeline.geo.grid import Grid
from pipeline.params.refine_labels import Shift
from pipeline.types import AnyArray


def shifted(frame: gpd.GeoDataFrame, grid: Grid, east_m: float, north_m: float) -> gpd.GeoDataFrame:
    """The frame with every geometry moved by metres on the ground along the CRS's axes; all else as it was.

    A metre is measured at the scene's centre: in a Mercator map it is more than one unit of the CRS, in a
    geographic CRS a small part of a degree. Missing and empty geometries stay what they are.

    Args:
        frame: outlines in the grid's CRS.
        grid: the scene's grid.
        east_m: metres along the first axis (east).
        north_m: metres along the second axis (north).

    Raises:
        SceneError: the grid has no CRS, so metres are unknown.
    """
    if east_m == 0 and north_m == 0:
        return frame
    step = np.array([east_m, north_m]) * units_per_metre(grid)
    moved: AnyArray = shapely.transform(frame.geometry.to_numpy(), lambda points: points + step)
    return frame.set_geometry(gpd.GeoSeries(moved, index=frame.index, crs=frame.crs))


def units_per_metre(grid: Grid) -> tuple[float, float]:
    """CRS units for one metre on the ground at the scene's centre, along the CRS's first and second axis.

    Raises:
        SceneError: the grid has no CRS, so metres are unknown.
    """
    units, metres = grid.pixel_size, grid.ground_pixel_m
    return units[0] / metres[0], units[1] / metres[1]


def check_shifts(shifts: Mapping[str, Shift], scene_ids: Collection[str]) -> None:
    """Refuse a shift of a scene that does not exist.

    Raises:
        ParamsError: a key of refine_labels.shift is no scene id.
    """
    for name in shifts:
        if name not in scene_ids:
            raise ParamsError(f"refine_labels.shift must name scenes among {sorted(scene_ids)}: got {name!r}; "
                              "correct the id or remove the entry")
