"""What stage spatial_split says when it is done: the parts, and what the labels' registration offset asks for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def summary_lines(certificate: Mapping[str, Any], folder: Path, params: Mapping[str, Any]) -> list[str]:
    """Blocks by part and unsupported classes in one line, then the hints on registration.

    Args:
        certificate: of the split.
        folder: the stage's reports.
        params: plain data with the section refine_labels.
    """
    sizes = ", ".join(f"{name} {part['blocks']} blocks" for name, part in certificate["parts"].items())
    rare = ", ".join(certificate["unsupported"]) or "none"
    return [f"{sizes}; unsupported: {rare}", *hints(folder, params["refine_labels"]["shift"])]


def hints(folder: Path, applied: Mapping[str, Mapping[str, float]]) -> list[str]:
    """One sentence for each scene whose labels are not moved as its significant offset (else 0) says.

    Args:
        folder: where registration.json is; without it there is no hint.
        applied: refine_labels.shift, {scene id: {east_m, north_m}}.
    """
    path = folder / "registration.json"
    if not path.exists():
        return []
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return [_hint(name, numbers, content["refine_labels.shift"].get(name, _none()))
            for name, numbers in content["scenes"].items()
            if numbers["determined"] and _differs(numbers, content["refine_labels.shift"].get(name, _none()),
                                                  applied.get(name, _none()))]


def _none() -> dict[str, float]:
    return {"east_m": 0.0, "north_m": 0.0}


def _differs(numbers: Mapping[str, Any], wanted: Mapping[str, float], applied: Mapping[str, float]) -> bool:
    """By more than half a pixel and more than two standard errors, along some axis."""
    half_pixel = 0.5 * min(numbers["pixel_m"])
    return any(abs(wanted[f"{axis}_m"] - applied[f"{axis}_m"]) > max(2 * numbers[f"{axis}_error_m"], half_pixel)
               for axis in ("east", "north"))


def _hint(name: str, numbers: Mapping[str, Any], wanted: Mapping[str, float]) -> str:
    east, north = -numbers["east_m"], -numbers["north_m"]
    place = (f"{abs(east):.1f} m {'east' if east > 0 else 'west'} and {abs(north):.1f} m "
             f"{'north' if north > 0 else 'south'}")
    return (f"labels of scene {name} as acquired lie {place} of the image (standard errors "
            f"{numbers['east_error_m']:.1f} m and {numbers['north_error_m']:.1f} m); set refine_labels.shift: "
            f"{{{name}: {{east_m: {wanted['east_m']:.1f}, north_m: {wanted['north_m']:.1f}}}}}")
