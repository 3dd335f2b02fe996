"""Where the user's files lie: one CRS a file, and labels that meet a scene."""

from collections.abc import Mapping, Sequence

import geopandas as gpd
import numpy as np
from pyproj import CRS

from pipeline.errors import KumulusError, LabelError
from pipeline.geo.grid import Grid, parse_crs
from pipeline.types import BoolArray

#: Longitudes go to 180, or to 360 where they are counted eastward only.
_LARGEST_DEGREE = 360.0
_POLE = 90.0


def settle_crs(found: CRS | None, given: str, subject: str, setting: str, error: type[KumulusError]) -> CRS:
    """The CRS of a file: its own, or the given one where it has none.

    Raises:
        KumulusError: (of the class `error`) there is neither, or the two contradict each other.
        SceneError: PROJ does not know the given CRS.
    """
    if not given:
        if found is None:
            raise error(f"{subject} must have a CRS: the file has none; set {setting}, such as EPSG:32636")
        return found
    named = parse_crs(given, setting)
    if found is not None and not found.equals(named, ignore_axis_order=True):
        raise error(f"{subject} must have one CRS: the file says {crs_name(found)}, {setting} says {given}; "
                    f"remove {setting} or correct the file")
    return named


def check_plausible(bounds: Sequence[float], crs: CRS, subject: str, setting: str, error: type[KumulusError]) -> None:
    """See that coordinates can be in their CRS: metres are no degrees, and degrees lie on no map in metres.

    Args:
        bounds: left, bottom, right, top.
        crs: their CRS.
        subject: what lies there, for the message.
        setting: the parameter that corrects the CRS.
        error: the class of the error.

    Raises:
        KumulusError: (of the class `error`) they cannot.
    """
    largest = float(np.abs(np.asarray(bounds, dtype=np.float64)).max())
    if crs.is_geographic and largest > _LARGEST_DEGREE:
        raise error(f"{subject} must have coordinates in degrees, as {crs_name(crs)} says: its bounds "
                    f"{box_text(bounds)} look like metres; correct the file's CRS or {setting}")
    in_degrees = largest <= _LARGEST_DEGREE and abs(bounds[1]) <= _POLE and abs(bounds[3]) <= _POLE
    if crs.is_projected and in_degrees and crs.axis_info[0].unit_name == "metre":
        raise error(f"{subject} must have coordinates in metres, as {crs_name(crs)} says: its bounds "
                    f"{box_text(bounds)} look like degrees; correct the file's CRS or {setting}")


def crs_name(crs: CRS) -> str:
    """EPSG:32748 where there is a code, else the CRS's own name."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.name)


def meets(frame: gpd.GeoDataFrame, grid: Grid) -> BoolArray:
    """Which features have a bounding box that meets the grid's, in the grid's CRS."""
    bounds = frame.geometry.to_crs(grid.crs).bounds.to_numpy()
    left, bottom, right, top = grid.bounds
    with np.errstate(invalid="ignore"):
        met: BoolArray = ((bounds[:, 0] < right) & (bounds[:, 2] > left)
                          & (bounds[:, 1] < top) & (bounds[:, 3] > bottom))
    return met


def check_overlap(frame: gpd.GeoDataFrame, grids: Mapping[str, Grid], subject: str, setting: str) -> dict[str, int]:
    """How many features meet each scene.

    Raises:
        LabelError: none meets any scene, as with a wrong CRS; the message has both CRSs and bounds.
    """
    counts = {scene: int(meets(frame, grid).sum()) for scene, grid in grids.items()}
    if not any(counts.values()):
        scene, grid = next(iter(grids.items()))
        raise LabelError(f"{subject} must overlap a scene: they are {crs_name(frame.crs)} with bounds "
                         f"{box_text(frame.total_bounds)}, scene {scene} is {grid.crs_name} with bounds "
                         f"{box_text(grid.bounds)}; correct the file's CRS or {setting}")
    return counts


def box_text(bounds: Sequence[float]) -> str:
    """(left, bottom, right, top) to six digits."""
    return "(" + ", ".join(f"{float(b):.6g}" for b in bounds) + ")"
