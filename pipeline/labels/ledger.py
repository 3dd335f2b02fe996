"""The ledger of refinement: every change to every geometry, with its areas, so that the books balance.

A geometry's rows in a scene form a chain: the first `area_before_m2` is its area as it came, each row starts where the
one before ended, and the last `area_after_m2` is its area in the refined labels. Ground that a rule derived or carved
out starts from 0. Hence in each scene and class: area before + sum of changes = area after.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd

from pipeline.geo.vector_io import geodesic_area_m2
from pipeline.labels.polygons import only_polygons
from pipeline.paths import staged_file
from pipeline.types import AnyArray, BoolArray

Action = Literal["kept", "repaired", "clipped", "carved", "dropped", "added"]


class Row(NamedTuple):
    """One event: what was done to one geometry in one scene ("" where it meets no scene)."""

    scene: str
    source_id: str
    class_: str
    action: Action
    reason: str
    area_before_m2: float
    area_after_m2: float


@dataclass
class Ledger:
    """Collects rows while one set of labels is refined."""

    rows: list[Row] = field(default_factory=list)

    def table(self) -> pd.DataFrame:
        """All rows in the order they were booked."""
        return pd.DataFrame(self.rows, columns=list(Row._fields)).rename(columns={"class_": "class"})

    def write(self, path: Path) -> None:
        """Write the table as Parquet."""
        with staged_file(path) as partial:
            self.table().to_parquet(partial, index=False)


@dataclass
class ScenePage:
    """One scene's page of the ledger: changes polygons and books the changes in one go.

    Frames on a page have the columns class, source_id, area_m2 (geodesic) and geometry, in the scene's CRS.
    """

    ledger: Ledger
    scene: str

    def amend(self, frame: gpd.GeoDataFrame, where: BoolArray, geometry: AnyArray, action: Action,
              reasons: Sequence[str]) -> gpd.GeoDataFrame:
        """Give the polygons at `where` new geometries; what is left empty is booked as dropped and leaves the frame.

        Args:
            frame: the polygons.
            where: which of them change.
            geometry: their new geometries, one for each that changes.
            action: what is done to them.
            reasons: why, one for each that changes.
        """
        if not where.any():
            return frame
        rows = np.flatnonzero(where)
        shapes, areas = frame.geometry.to_numpy().copy(), frame["area_m2"].to_numpy().copy()
        before = areas[rows]
        shapes[rows] = only_polygons(geometry)
        areas[rows] = geodesic_area_m2(gpd.GeoSeries(shapes[rows], crs=frame.crs))
        done = ["dropped" if area == 0 else action for area in areas[rows]]
        self._book(frame.iloc[rows], done, reasons, before, areas[rows])
        amended = frame.assign(area_m2=areas).set_geometry(gpd.GeoSeries(shapes, crs=frame.crs))
        return amended[areas > 0].reset_index(drop=True)

    def drop(self, frame: gpd.GeoDataFrame, where: BoolArray, reason: str) -> gpd.GeoDataFrame:
        """Take polygons out of the frame."""
        gone = frame[where]
        self._book(gone, ["dropped"] * len(gone), [reason] * len(gone), gone["area_m2"].to_numpy(), np.zeros(len(gone)))
        return frame[~where].reset_index(drop=True)

    def add(self, frame: gpd.GeoDataFrame, reasons: Sequence[str]) -> gpd.GeoDataFrame:
        """Book new polygons; returns the frame with their areas, without empty ones."""
        shapes = only_polygons(frame.geometry.to_numpy())
        areas = geodesic_area_m2(gpd.GeoSeries(shapes, crs=frame.crs))
        measured = frame.assign(area_m2=areas).set_geometry(gpd.GeoSeries(shapes, index=frame.index, crs=frame.crs))
        kept = areas > 0
        new = measured[kept].reset_index(drop=True)
        self._book(new, ["added"] * len(new), [r for r, k in zip(reasons, kept, strict=True) if k], np.zeros(len(new)),
                   areas[kept])
        return new

    def settle(self, frame: gpd.GeoDataFrame) -> None:
        """Book what nothing was done to as kept."""
        booked = {row.source_id for row in self.ledger.rows if row.scene == self.scene}
        kept = frame[~frame["source_id"].isin(booked)]
        areas = kept["area_m2"].to_numpy()
        self._book(kept, ["kept"] * len(kept), ["as it came"] * len(kept), areas, areas)

    def _book(self, frame: gpd.GeoDataFrame, actions: Sequence[str], reasons: Sequence[str], before: AnyArray,
              after: AnyArray) -> None:
        self.ledger.rows += [
            Row(self.scene, *row) for row in zip(frame["source_id"], frame["class"], actions, reasons,
                                                 before.tolist(), after.tolist(), strict=True)]
