"""Read a Sentinel-2 SAFE folder: files by band and resolution, level, offsets and quantification from its metadata.

Element names, band ids and the meaning of offsets: Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD),
issue 14.9, and the baseline 04.00 notice: reflectance = (DN + offset) / quantification, DN 0 = no data.
"""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from pipeline.errors import SceneError
from pipeline.sources.local.names import SENTINEL2, sentinel2_token

#: File of the metadata -> level, elements of the quantification (now, and in early products), element of an offset.
_METADATA = {"MTD_MSIL2A.xml": ("L2A", ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"), "BOA_ADD_OFFSET"),
             "MTD_MSIL1C.xml": ("L1C", ("QUANTIFICATION_VALUE",), "RADIO_ADD_OFFSET")}
#: Bands by the `band_id` of an offset.
_BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
#: First processing baseline whose products have offsets.
_OFFSETS_SINCE = 4.0


@dataclass(frozen=True)
class Safe:
    """What a SAFE folder says. Bands go by common names; `files` gives each band's files by resolution in metres."""

    level: str
    time: str
    quantification: float
    offsets: dict[str, float]
    files: dict[str, dict[int, Path]]
    classification: Path | None

    def pick(self, bands: tuple[str, ...], grid: str) -> dict[str, Path]:
        """One file a band: the product's own at the grid band's finest resolution if there is one, else its finest."""
        target = min(self.files[grid]) if grid in self.files else None
        return {b: self.files[b][target if target in self.files[b] else min(self.files[b])] for b in bands}


def is_safe(folder: Path) -> bool:
    """Whether a folder is a Sentinel-2 product, by its name or its metadata."""
    return folder.suffix.upper() == ".SAFE" or any((folder / name).exists() for name in _METADATA)


def read_safe(folder: Path, subject: str) -> Safe:
    """Read a product's metadata and list its files.

    Raises:
        SceneError: metadata is missing or says too little, or there is not exactly one granule with bands.
    """
    name = next((n for n in _METADATA if (folder / n).exists()), "")
    if not name:
        raise SceneError(f"{subject} must hold {' or '.join(_METADATA)}, as a SAFE folder does: found neither; "
                         "download the whole product")
    level, quantification_tags, offset_tag = _METADATA[name]
    try:
        root = ElementTree.parse(folder / name).getroot()
    except (ElementTree.ParseError, OSError) as error:
        raise SceneError(f"{subject} must have metadata that can be read: {name}: {error}; "
                         "download the product again") from error
    given = next((text for tag in quantification_tags if (text := _text(root, tag))), "")
    quantification = _number(given, f"{subject}: {quantification_tags[0]} in {name}")
    if quantification <= 0:
        raise SceneError(f"{subject}: {quantification_tags[0]} in {name} must be above 0: got {quantification:g}; "
                         "download the product again")
    files, classification = _files(folder, subject)
    offsets = _offsets(root, offset_tag, files, f"{subject}: {name}")
    return Safe(level, _text(root, "PRODUCT_START_TIME"), quantification, offsets, files, classification)


def _offsets(root: ElementTree.Element, tag: str, files: dict[str, dict[int, Path]], subject: str) -> dict[str, float]:
    """Offset by band: 0 for products from before there were any.

    Raises:
        SceneError: some are missing, or all of a product that must have them.
    """
    given = {e.get("band_id", ""): _number(e.text or "", f"{subject}: {tag}") for e in root.iter() if _tag(e) == tag}
    baseline = _text(root, "PROCESSING_BASELINE")
    if not given:
        if baseline and _number(baseline, f"{subject}: PROCESSING_BASELINE") >= _OFFSETS_SINCE:
            raise SceneError(f"{subject} must have {tag} from processing baseline 04.00 on: it is {baseline} and has "
                             "none; download the product again")
        return dict.fromkeys(files, 0.0)
    by_band = {SENTINEL2[token]: given[str(i)] for i, token in enumerate(_BAND_IDS) if str(i) in given}
    if missing := [band for band in files if band not in by_band]:
        raise SceneError(f"{subject} must have {tag} for each band: {missing} missing; download the product again")
    return {band: by_band[band] for band in files}


def _files(folder: Path, subject: str) -> tuple[dict[str, dict[int, Path]], Path | None]:
    granules = sorted(p.parent for p in folder.glob("GRANULE/*/IMG_DATA"))
    if len(granules) != 1:
        raise SceneError(f"{subject} must have one granule with IMG_DATA: got {len(granules)} "
                         f"{[g.name for g in granules]}; download the product again, or make one scene of each granule")
    found: dict[str, dict[int, Path]] = {}
    for path in sorted((granules[0] / "IMG_DATA").rglob("*.*")):
        if (token := sentinel2_token(path.stem)) and path.suffix.lower() != ".xml":
            found.setdefault(token[0], {})[token[1]] = path
    classification = found["SCL"][min(found["SCL"])] if "SCL" in found else None
    bands = {common: found[token] for token, common in SENTINEL2.items() if token in found}
    if not bands:
        raise SceneError(f"{subject} must hold files of bands such as *_B02_10m.jp2: IMG_DATA has none; "
                         "download the whole product")
    return bands, classification


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(root: ElementTree.Element, tag: str) -> str:
    return next(((e.text or "").strip() for e in root.iter() if _tag(e) == tag), "")


def _number(text: str, subject: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SceneError(f"{subject} must be a number: got {text!r}; download the product again") from None
