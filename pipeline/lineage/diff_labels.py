"""How two refinements of labels differ, by their ledgers: rows and areas by class and action, and single geometries."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

#: What tells a geometry in a scene.
_KEY = ["scene", "source_id", "class"]
#: Areas that differ by less are equal, square metres: they are written as they were summed up.
_LEAST_M2 = 1e-6


@dataclass(frozen=True)
class Booked:
    """Rows of one class and action in a ledger, and what they did to areas."""

    rows: int
    before_m2: float
    after_m2: float


@dataclass(frozen=True)
class LabelDifference:
    """Two ledgers, A's first."""

    #: (class, action) -> (A's, B's), where they differ.
    booked: Mapping[tuple[str, str], tuple[Booked, Booked]]
    #: Class -> (A's, B's) area of the refined labels in square metres, of every class.
    areas_m2: Mapping[str, tuple[float, float]]
    #: Geometries, by scene, source id and class, that only one ledger has, and those whose rows differ.
    only_first: int
    only_second: int
    changed: int
    equal: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "actions": [{"class": name, "action": action, "first": asdict(old), "second": asdict(new)}
                        for (name, action), (old, new) in self.booked.items()],
            "areas_m2": {name: {"first": old, "second": new} for name, (old, new) in self.areas_m2.items()},
            "geometries": {"only_first": self.only_first, "only_second": self.only_second, "changed": self.changed,
                           "equal": self.equal},
        }


def compare_ledgers(first: Path, second: Path) -> LabelDifference:
    """Compare two ledger.parquet as refine_labels writes them (see `pipeline.labels.ledger`)."""
    tables = pd.read_parquet(first), pd.read_parquet(second)
    booked = [_booked(table) for table in tables]
    nothing = Booked(0, 0.0, 0.0)
    pairs = {key: (booked[0].get(key, nothing), booked[1].get(key, nothing))
             for key in sorted(booked[0].keys() | booked[1].keys())}
    areas = [(table["area_after_m2"] - table["area_before_m2"]).groupby(table["class"]).sum() for table in tables]
    came = [_as_they_came(table) for table in tables]
    totals = [(area + start).to_dict() for area, start in zip(areas, came, strict=True)]
    chains = [_chains(table) for table in tables]
    both = chains[0].keys() & chains[1].keys()
    changed = sum(chains[0][key] != chains[1][key] for key in both)
    return LabelDifference(
        {key: pair for key, pair in pairs.items() if _differ(*pair)},
        {name: (float(totals[0].get(name, 0.0)), float(totals[1].get(name, 0.0)))
         for name in sorted(totals[0].keys() | totals[1].keys())},
        len(chains[0].keys() - both), len(chains[1].keys() - both), changed, len(both) - changed)


def _booked(table: pd.DataFrame) -> dict[tuple[str, str], Booked]:
    rows = table.groupby(["class", "action"], sort=True)
    return {(str(name), str(action)): Booked(len(part), float(part["area_before_m2"].sum()),
                                             float(part["area_after_m2"].sum()))
            for (name, action), part in rows}


def _differ(old: Booked, new: Booked) -> bool:
    return (old.rows != new.rows or abs(old.before_m2 - new.before_m2) > _LEAST_M2
            or abs(old.after_m2 - new.after_m2) > _LEAST_M2)


def _as_they_came(table: pd.DataFrame) -> "pd.Series[float]":
    """Area of each class before any change: a geometry's first row has it."""
    return table.drop_duplicates(_KEY, keep="first").groupby("class")["area_before_m2"].sum()


def _chains(table: pd.DataFrame) -> dict[tuple[str, ...], list[tuple[str, str, float]]]:
    """Geometry -> its rows in order; areas to a square centimetre."""
    chains: dict[tuple[str, ...], list[tuple[str, str, float]]] = {}
    for scene, source, name, action, reason, after in zip(
            *(table[column] for column in (*_KEY, "action", "reason", "area_after_m2")), strict=True):
        chains.setdefault((str(scene), str(source), str(name)), []).append(
            (str(action), str(reason), round(float(after), 4)))
    return chains
