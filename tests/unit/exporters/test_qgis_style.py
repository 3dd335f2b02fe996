"""The style names and colours every class."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pipeline.exporters.qgis_style import style_xml, write_style


def test_palette_names_and_colours_every_class(tmp_path: Path) -> None:
    write_style(tmp_path / "m_class.qml", ["a_b", "c<&>"], ["#000000", "#Ff0010"])
    text = (tmp_path / "m_class.qml").read_text()
    assert text.startswith("<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n<qgis ")
    renderer = ET.fromstring(text.split("\n", 1)[1]).find("pipe/rasterrenderer")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = [(e.get("value"), e.get("label"), e.get("color")) for e in renderer.iter("paletteEntry")]
    assert entries == [("0", "a b", "#000000"), ("1", "c<&>", "#Ff0010")]


def test_a_colour_for_each_class() -> None:
    with pytest.raises(ValueError, match="zip"):
        style_xml(["a", "b"], ["#000000"])
