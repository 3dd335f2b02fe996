"""The ledger of refinement: every change to every geometry, with its areas, so that the books balance.

A geometry's rows in a scene form a chain: the first `area_before_m2` is its area as it came, each row starts where the
one before ended, and the last `area_after_m2` is its area in the refined labels. Ground that a rule derived or carved
out starts from 0. Hence in each scene and class: area before + sum of changes = area after.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.labels.polygons import Polygons, only_polygons
from pipeline.paths import staged_file
from pipeline.types import AnyArray, BoolArray

Action = Literal["kept", "repaired", "clipped", "carved", "dropped", "added"]

#: scene: "" where a geometry meets none.
COLUMNS = ("scene", "source_id", "class", "action", "reason", "area_before_m2", "area_after_m2")


@dataclass
class Ledger:
    """Collects entries, column by column, while labels are refined."""

    _entries: list[tuple[str, AnyArray, AnyArray, AnyArray, AnyArray, AnyArray, AnyArray]] = field(
        default_factory=list)

    def book(self, scene: str, polygons: Polygons, actions: AnyArray | Action, reasons: AnyArray | str,
             after_m2: AnyArray) -> None:
        """Append one row for each polygon.

        Args:
            scene: the scene's id.
            polygons: with their areas before.
            actions: what was done, one for all or one each.
            reasons: why, one for all or one each.
            after_m2: areas after, square metres.
        """
        if count := len(polygons):
            done, why = (np.full(count, c, dtype=object) if isinstance(c, str) else c for c in (actions, reasons))
            self._entries.append((scene, polygons.source_ids, polygons.classes, done, why, polygons.area_m2, after_m2))

    def extend(self, other: "Ledger") -> None:
        """Append another ledger's rows."""
        self._entries += other._entries

    def table(self) -> pd.DataFrame:
        """All rows in the order they were booked."""
        scenes = np.repeat(np.array([e[0] for e in self._entries], dtype=object), [len(e[1]) for e in self._entries])
        nothing = [np.empty(0, dtype=object)] * 4 + [np.empty(0)] * 2
        columns = [np.concatenate([nothing[i], *(e[i + 1] for e in self._entries)]) for i in range(6)]
        return pd.DataFrame(dict(zip(COLUMNS, [scenes, *columns], strict=True)))

    def has(self, source_ids: AnyArray) -> BoolArray:
        """Which of some source ids have a row."""
        booked = {name for entry in self._entries for name in entry[1]}
        return np.array([name in booked for name in source_ids], dtype=np.bool_)

    def changed_m2(self, action: Action, reason: str) -> float:
        """Square metres by which an action for a reason changed polygons, in sum."""
        return float(sum((after - before)[(done == action) & (why == reason)].sum()
                         for _, _, _, done, why, before, after in self._entries))

    def write(self, path: Path) -> None:
        """Write the table as Parquet."""
        with staged_file(path) as partial:
            self.table().to_parquet(partial, index=False)


@dataclass
class ScenePage:
    """One scene's page of the ledger: changes polygons and books the changes in one go.

    Attributes:
        ledger: where rows go.
        scene: the scene's id.
        area_m2: measures polygons in the scene's CRS in square metres on the ellipsoid.
    """

    ledger: Ledger
    scene: str
    area_m2: Callable[[AnyArray], AnyArray]

    def amend(self, polygons: Polygons, where: BoolArray, shapes: AnyArray, action: Action,
              reasons: Sequence[str]) -> Polygons:
        """Give the polygons at `where` new shapes; what is left empty is booked as dropped and left out.

        Args:
            polygons: the polygons.
            where: which of them change.
            shapes: their new shapes, one for each that changes.
            action: what is done to them.
            reasons: why, one for each that changes.
        """
        if not where.any():
            return polygons
        changed, areas = polygons.shapes.copy(), polygons.area_m2.copy()
        changed[where] = only_polygons(shapes)
        areas[where] = self.area_m2(changed[where])
        done = np.where(areas[where] == 0, "dropped", action).astype(object)
        self.ledger.book(self.scene, polygons[where], done, np.array(reasons, dtype=object), areas[where])
        return polygons.reshaped(changed, areas)[areas > 0]

    def drop(self, polygons: Polygons, where: BoolArray, reason: str) -> Polygons:
        """Take polygons out."""
        self.ledger.book(self.scene, polygons[where], "dropped", reason, np.zeros(int(where.sum())))
        return polygons[~where]

    def add(self, classes: AnyArray, source_ids: AnyArray, shapes: AnyArray, reasons: AnyArray) -> Polygons:
        """Book new polygons, one a class, source id, shape and reason; returns those that are not empty."""
        areas = self.area_m2(shapes)
        held = areas > 0
        new = Polygons(classes, source_ids, shapes, np.zeros(len(shapes)))[held]
        self.ledger.book(self.scene, new, "added", reasons[held], areas[held])
        return new.reshaped(new.shapes, areas[held])

    def settle(self, polygons: Polygons) -> None:
        """Book what nothing was done to as kept."""
        kept = polygons[~self.ledger.has(polygons.source_ids)]
        self.ledger.book(self.scene, kept, "kept", "as it came", kept.area_m2)
