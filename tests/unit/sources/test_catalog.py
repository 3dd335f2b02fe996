"""A catalog is read as it was written."""

import hashlib
from pathlib import Path

import pytest

from pipeline.errors import SceneError
from pipeline.sources.catalog import Catalog, enter


def test_a_catalog_reads_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    file = tmp_path / "scenes/a.tif"
    file.write_bytes(b"abc")
    scene = enter(tmp_path, file, "inputs/a.tif", "a", "CC0", "2020-01-01", ("red", "nir"))
    assert (scene.file, scene.size, scene.sha256) == ("scenes/a.tif", 3, hashlib.sha256(b"abc").hexdigest())
    for reference in (None, enter(tmp_path, file, "inputs/truth.tif")):
        catalog = Catalog("sparse", "local", (scene,), enter(tmp_path, file, "inputs/l.gpkg", count=4), reference)
        catalog.write(tmp_path / "catalog.json")
        assert Catalog.open(tmp_path / "catalog.json") == catalog
    assert str(tmp_path) not in (tmp_path / "catalog.json").read_text()


def test_no_catalog(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="run `dvc repro acquire`"):
        Catalog.open(tmp_path / "catalog.json")
