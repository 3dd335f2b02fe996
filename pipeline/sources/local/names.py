"""How files and bands get their names: Sentinel-2's band numbers, file stems, and names that must differ."""

import re
from collections.abc import Sequence

from pipeline.errors import SceneError

#: Sentinel-2 MSI bands -> the names that spectral indices know them by (B8A is the narrow near infrared).
SENTINEL2 = {"B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
             "B07": "rededge3", "B08": "nir", "B8A": "nir2", "B09": "water_vapour", "B10": "cirrus", "B11": "swir1",
             "B12": "swir2"}

#: What a product holds besides bands: scene classification, aerosols, water vapour column, true colour, probabilities.
NO_BANDS = ("SCL", "AOT", "WVP", "TCI", "CLD", "SNW")

_TOKEN = re.compile(rf"(?:^|_)({'|'.join((*SENTINEL2, *NO_BANDS))})(?:_(\d+)m)?$", re.IGNORECASE)


def sentinel2_token(stem: str) -> tuple[str, int] | None:
    """("B02", 10) for T33UUP_20210701T100031_B02_10m, ("B02", 0) for B02; None where the stem names no such band."""
    found = _TOKEN.search(stem)
    return (found[1].upper(), int(found[2] or 0)) if found else None


def band_of_stem(stem: str) -> str:
    """The band a file holds by its stem: blue for B02 and T33UUP_B02_10m, "" for SCL and the like, else the stem."""
    token = sentinel2_token(stem)
    if token is None:
        return stem
    return SENTINEL2.get(token[0], "")


def check_different(names: Sequence[str], subject: str, remedy: str) -> None:
    """See that no name occurs twice.

    Raises:
        SceneError: one does.
    """
    if repeated := sorted({n for n in names if list(names).count(n) > 1}):
        raise SceneError(f"{subject} must have bands with different names: {repeated} occur twice; {remedy}")


def check_bands(names: Sequence[str], needed: Sequence[str], subject: str) -> None:
    """See that a scene has the task's bands.

    Raises:
        SceneError: a band is missing; the message names what there is.
    """
    if missing := [b for b in needed if b not in names]:
        raise SceneError(f"{subject} must have the bands of task.bands {list(needed)}: {missing} missing among "
                         f"{list(names)}; correct the bands of this scene in acquire.local.scenes, or task.bands")


def select(names: Sequence[str], wanted: Sequence[str], subject: str) -> tuple[str, ...]:
    """The wanted names, or all of them where none are.

    Raises:
        SceneError: a wanted one is not there.
    """
    if missing := [b for b in wanted if b not in names]:
        raise SceneError(f"{subject} must hold the bands it is asked for: {missing} missing among {list(names)}; "
                         "correct bands of this scene in acquire.local.scenes")
    return tuple(wanted or names)
