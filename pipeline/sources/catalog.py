"""data/raw/catalog.json: what was acquired, from where, and the sha256 of what lies there now."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.digests import file_sha256
from pipeline.errors import SceneError
from pipeline.paths import write_json


@dataclass(frozen=True)
class Entry:
    """One acquired file. `file` is relative to data/raw.

    `href` is the configured path ("inputs:..." below an absolute acquire.inputs), an address, or how it was made.
    """

    id: str
    file: str
    href: str
    size: int
    sha256: str
    licence: str = ""
    time: str = ""
    #: Band names in file order (rasters only).
    bands: tuple[str, ...] = ()
    #: Number of features (vectors only).
    count: int = 0
    #: Processing level of a scene: L1C, L2A or "", unsaid.
    level: str = ""
    #: reflectance = (pixel + offset) / quantification was applied; 0: pixels are as they came; None: several were, by
    #: band or by item, and `assets` tell each.
    quantification: float | None = 0.0
    #: The offset of each band in file order, 0 for extra bands, which keep their units; () where nothing was applied,
    #: or several.
    offsets: tuple[float, ...] = ()


@dataclass(frozen=True)
class Asset:
    """One answer of a network that files of data/raw were made of: an asset of a STAC item, or of OpenStreetMap."""

    #: The item's id, or the service.
    id: str
    #: The band or part it was read for.
    role: str
    #: Without signature.
    href: str
    #: Of what was kept of it: the cut-out's file, or the answer's elements without its date.
    sha256: str
    #: Of the whole remote file in bytes, where its catalog says so; else 0.
    size: int = 0
    #: Acquisition; "" for OpenStreetMap, whose data base's date moves on though answers stay the same.
    time: str = ""
    licence: str = ""
    #: What was asked (a query), or how digital numbers became reflectance.
    note: str = ""


@dataclass(frozen=True)
class Catalog:
    """All of data/raw. `coverage` says whether ground outside the labels is background or unknown."""

    coverage: str
    source: str
    scenes: tuple[Entry, ...]
    labels: Entry
    reference: Entry | None
    #: What came over a network; () for sources of files.
    assets: tuple[Asset, ...] = ()

    @classmethod
    def open(cls, path: Path) -> "Catalog":
        """Read catalog.json.

        Raises:
            SceneError: there is none.
        """
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise SceneError(f"catalog {path} must exist: not found; run `dvc repro acquire`") from error
        reference = data["reference"]
        return cls(data["coverage"], data["source"], tuple(_entry(s) for s in data["scenes"]), _entry(data["labels"]),
                   _entry(reference) if reference else None, tuple(Asset(**a) for a in data.get("assets", ())))

    def write(self, path: Path) -> None:
        """Write catalog.json."""
        write_json(path, asdict(self))


def _entry(data: dict[str, Any]) -> Entry:
    return Entry(**{**data, "bands": tuple(data["bands"]), "offsets": tuple(data.get("offsets", ()))})


def enter(folder: Path, file: Path, href: str, id_: str = "", licence: str = "", time: str = "",
          bands: tuple[str, ...] = (), count: int = 0) -> Entry:
    """The entry of a file that lies below `folder` (data/raw), with its size and digest."""
    return Entry(id_ or file.stem, file.relative_to(folder).as_posix(), href, file.stat().st_size, file_sha256(file),
                 licence, time, bands, count)
