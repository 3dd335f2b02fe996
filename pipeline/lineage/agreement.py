"""Whether a replay made what a statement says: byte for byte, and where bytes differ, by how much.

On the recorded machine and libraries nothing may differ. On others, floating-point sums are taken in another order and
a training drifts apart, so weights and class maps are judged by the tolerances stated here; every other file holds the
digest of provenance.json, which names the machine, and is only reported.

Shape legend: H rows, W columns.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.digests import file_sha256
from pipeline.errors import ModelError, SceneError
from pipeline.geo.raster_io import describe, open_windows
from pipeline.geo.windows import row_bands
from pipeline.lineage.dvc_store import DvcLock
from pipeline.lineage.finder import Finder
from pipeline.paths import Paths
from pipeline.tracking.oids import artifact_digests
from pipeline.tracking.statement import Resource, Statement
from pipeline.types import IGNORE_INDEX

#: Largest |a - b| / |a| (Euclidean norms of a whole tensor) over the tensors of a member.
WEIGHTS_TOLERANCE = 0.05
#: Least share of equal pixels of a class map, among those that have a class in either.
MAP_TOLERANCE = 0.98

CHECKPOINT = "models/checkpoint"
_WEIGHTS, _MAP = "weights.safetensors", "_class.tif"
#: Rows of maps compared at once.
_ROWS = 512

Kind = Literal["data", "weights", "map", "file", "report"]


@dataclass(frozen=True)
class Compared:
    """One artifact or file of the statement, and what the replay made."""

    name: str
    kind: Kind
    equal: bool
    #: Where bytes differ: largest_absolute and largest_relative of weights, equal_share of a class map's pixels.
    #: Infinite where weights hold values that are no numbers, or a tensor that was all zero is so no more.
    measured: Mapping[str, float] = field(default_factory=dict)
    #: Whether a difference is within the tolerances; None where none are stated, or the recorded bytes are not here.
    within: bool | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain data; what is infinite is None, as JSON has no word for it."""
        measured = {key: value if math.isfinite(value) else None for key, value in self.measured.items()}
        return {"name": self.name, "kind": self.kind, "equal": self.equal, "measured": measured,
                "within": self.within, "note": self.note}

    @property
    def shown(self) -> str:
        """One line."""
        if self.equal:
            return f"{self.name}: byte-identical"
        numbers = ", ".join(f"{key.replace('_', ' ')} {_shown(key, value)}" for key, value in self.measured.items())
        judged = {True: "within tolerance", False: "outside tolerance", None: ""}[self.within]
        return f"{self.name}: differs" + "".join(f"; {part}" for part in (numbers, judged, self.note) if part)


def _shown(key: str, value: float) -> str:
    return f"{value:{'.4%' if key.endswith('share') else '.2g'}}" if math.isfinite(value) else "infinite"


def agree(statement: Statement, replayed: Paths, finder: Finder, acquired: bool = True) -> list[Compared]:
    """Compare every artifact and finished file of a statement with what a replay made of it.

    Args:
        statement: of the result.
        replayed: where the replay has run.
        finder: finds the recorded bytes, to say by how much others differ.
        acquired: whether acquire has run again; where it has not, what it makes was brought and tells nothing.
    """
    made = DvcLock.read(replayed.root / "dvc.lock").outs
    run_file = replayed.run_file.relative_to(replayed.root).as_posix()
    found: list[Compared] = []
    for artifact in statement.of_kind("artifact"):
        if artifact.stages == ("acquire",) and not acquired:
            continue
        if artifact.name == CHECKPOINT:
            found += [_checkpoint_file(file, replayed, finder) for file in statement.of_kind("file")
                      if file.artifact == CHECKPOINT]
        elif artifact.name != run_file:  # the key of a training is its own
            found.append(_artifact(artifact, statement, replayed, made.get(artifact.name, "")))
    return found + [_subject(name, sha256, replayed, finder) for name, sha256 in sorted(statement.subjects.items())]


def _artifact(artifact: Resource, statement: Statement, replayed: Paths, made: str) -> Compared:
    kind: Kind = "report" if artifact.name.startswith("reports/") else "data"
    if made and made == artifact.md5:
        return Compared(artifact.name, kind, True)
    place = replayed.root / artifact.name
    if not place.exists():
        return Compared(artifact.name, kind, False, note="the replay made none")
    recorded = {file.name: file.md5 for file in statement.of_kind("file") if file.artifact == artifact.name}
    files = {f"{artifact.name}/{name}": digests.md5 for name, digests in
             artifact_digests(place, replayed.root).files.items()}
    if files and files == recorded:  # brought here by digest, and named by no stage that has run
        return Compared(artifact.name, kind, True)
    differing = sorted(name for name in files.keys() | recorded.keys() if files.get(name) != recorded.get(name))
    note = f"{len(differing)} of {len(recorded)} files, such as {differing[0]}" if differing else ""
    return Compared(artifact.name, kind, False, note=note)


def _checkpoint_file(file: Resource, replayed: Paths, finder: Finder) -> Compared:
    kind: Kind = "weights" if file.name.endswith(_WEIGHTS) else "file"
    return _file(file.name, kind, file.sha256, replayed.root / file.name,
                 lambda: finder.resource(file) if kind == "weights" else None)


def _subject(name: str, sha256: str, replayed: Paths, finder: Finder) -> Compared:
    kind: Kind = "map" if name.endswith(_MAP) else "file"
    shown = (replayed.export / name).relative_to(replayed.root).as_posix()
    return _file(shown, kind, sha256, replayed.export / name,
                 lambda: finder.subject(name, sha256) if kind == "map" else None)


def _file(name: str, kind: Kind, sha256: str, place: Path, recorded: Any) -> Compared:
    if not place.is_file():
        return Compared(name, kind, False, within=False, note="the replay made none")
    if file_sha256(place) == sha256:
        return Compared(name, kind, True)
    if kind == "file":
        return Compared(name, kind, False)
    original = recorded()
    if original is None:
        return Compared(name, kind, False, note="the recorded bytes are not here, so by how much is not known")
    try:
        measured = (weights_apart(original, place) if kind == "weights"
                    else {"equal_share": equal_share(original, place)})
    except (ModelError, SceneError) as error:
        return Compared(name, kind, False, within=False, note=str(error))
    within = (measured["largest_relative"] <= WEIGHTS_TOLERANCE if kind == "weights"
              else measured["equal_share"] >= MAP_TOLERANCE)
    return Compared(name, kind, False, measured, within)


def weights_apart(first: Path, second: Path) -> dict[str, float]:
    """Largest absolute difference of any value, and largest |a - b| / |a| of any tensor, of two weights.safetensors.

    Both are infinite where a difference is no number (of NaN or infinite weights), the second where |a| is 0 and |b|
    is not.

    Raises:
        ModelError: they hold other tensors.
    """
    from safetensors.torch import load_file

    a, b = load_file(first), load_file(second)
    shapes = [{name: tuple(tensor.shape) for name, tensor in weights.items()} for weights in (a, b)]
    if shapes[0] != shapes[1]:
        raise ModelError("weights must have the same tensors to be compared: names or shapes differ; see whether the "
                         "library that builds the network has another version")
    absolute = relative = 0.0
    for name in a:
        old, new = a[name].double(), b[name].double()
        apart = (old - new).abs()
        if not bool(apart.isfinite().all()):  # max() and a comparison would let NaN pass
            return {"largest_absolute": math.inf, "largest_relative": math.inf}
        if size := float(apart.norm()):
            norm = float(old.norm())
            absolute = max(absolute, float(apart.max()))
            relative = max(relative, size / norm if norm else math.inf)
    return {"largest_absolute": absolute, "largest_relative": relative}


def equal_share(first: Path, second: Path) -> float:
    """Share of pixels with the same class in two class maps, among those that have one in either; 1 where none has.

    Raises:
        SceneError: they are not on one grid, or cannot be read.
    """
    grids = describe(first).grid, describe(second).grid
    if grids[0] != grids[1]:
        raise SceneError(f"maps must be on one grid to be compared: {grids[0].height} x {grids[0].width} px and "
                         f"{grids[1].height} x {grids[1].width} px, or another place; see data/scenes")
    equal = counted = 0
    for old_HW, new_HW in _bands(first, second, grids[0].height, grids[0].width):
        known_HW = (old_HW != IGNORE_INDEX) | (new_HW != IGNORE_INDEX)
        counted += int(known_HW.sum())
        equal += int(((old_HW == new_HW) & known_HW).sum())
    return equal / counted if counted else 1.0


def _bands(first: Path, second: Path, height: int, width: int) -> Iterator[tuple[Any, Any]]:
    with open_windows(first) as a, open_windows(second) as b:
        for window in row_bands(height, width, _ROWS):
            yield np.asarray(a.read(window, [1])[0]), np.asarray(b.read(window, [1])[0])
