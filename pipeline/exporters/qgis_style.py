"""A QGIS layer style (.qml) that names and colours classes; QGIS loads it by itself from beside the map."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from pipeline.paths import staged_file

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def style_xml(classes: Sequence[str], colors: Sequence[str]) -> str:
    """A paletted renderer on band 1, as QGIS 3 writes it; labels are class names without underscores."""
    root = ET.Element("qgis", version="3.22.0", styleCategories="Symbology")
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    ET.SubElement(renderer, "rasterTransparency")
    palette = ET.SubElement(renderer, "colorPalette")
    for i, (name, color) in enumerate(zip(classes, colors, strict=True)):
        ET.SubElement(
            palette, "paletteEntry", value=str(i), label=name.replace("_", " "), color=color, alpha="255"
        )
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ET.SubElement(root, "blendMode").text = "0"
    ET.indent(root, " ")
    return _DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"


def write_style(path: Path, classes: Sequence[str], colors: Sequence[str]) -> None:
    """Write the style; it must bear the map's name but for the suffix."""
    with staged_file(path) as partial:
        partial.write_text(style_xml(classes, colors), encoding="utf-8")
