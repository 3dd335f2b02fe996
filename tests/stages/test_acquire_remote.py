"""The stage with sources on loopback: what it writes, keeps and records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
from shapely.geometry import box

from pipeline.errors import LabelError, SceneError
from pipeline.geo.vector_io import read_vectors
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.sources.catalog import Catalog
from stages import acquire
from tests.unit.sources.osm.osm_server import OsmServer
from tests.unit.sources.stac.stac_server import StacServer, lonlat


@pytest.fixture
def stac(tmp_path: Path) -> Iterator[StacServer]:
    with StacServer(tmp_path / "served") as server:
        server.add_scene("s2a")
        yield server


@pytest.fixture
def osm() -> Iterator[OsmServer]:
    with OsmServer() as server:
        west, south, _, _ = lonlat()
        server.way(31, [((x - 106.81) * 1000, (y + 6.25) * 1000) for x, y in
                        box(west, south, west + 0.001, south + 0.001).exterior.coords[:-1]], landuse="residential")
        yield server


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A working folder whose inputs hold labels of a part of the area."""
    (tmp_path / "project/inputs").mkdir(parents=True)
    west, south, east, _ = lonlat()
    labels = gpd.GeoDataFrame({"class": ["t"]}, geometry=[box(west, south, east, south + 0.0005)], crs=4326)
    labels.to_file(tmp_path / "project/inputs/labels.gpkg")
    return tmp_path / "project"


def params(server: StacServer, **changes: Any) -> Params:
    classes = [{"name": n, "color": f"#00000{i}"} for i, n in enumerate(("town", "water"))]
    given = {"source": "stac", "coverage": "sparse", "stac": server.params().model_dump(mode="json"),
             "local": {"labels": {"path": "inputs/labels.gpkg", "classes": {"t": "town"}}}, **changes}
    return Params({"seed": 1, "task": {"bands": ["blue", "nir"], "classes": classes}, "acquire": given,
                   "refine_labels": {"rules": []}})


def with_osm(server: StacServer, osm: OsmServer, **changes: Any) -> Params:
    return params(server, labels_from="osm", osm={**osm.params().model_dump(mode="json"), **changes})


def test_scenes_from_an_api_and_labels_from_a_file(stac: StacServer, root: Path) -> None:
    catalog = acquire.run(params(stac), Paths(root))
    assert (catalog.source, [s.id for s in catalog.scenes], catalog.labels.count) == ("stac", ["s2a"], 1)
    assert Catalog.open(root / "data/raw/catalog.json") == catalog, "assets are read back, too"
    assert [a.role for a in catalog.assets] == ["blue", "nir", "swir1"]
    assert "/tmp" not in (root / "data/raw/catalog.json").read_text()
    assert list((root / ".kumulus/downloads").iterdir()) == []
    before = {p.name: p.read_bytes() for p in (root / "data/raw").rglob("*") if p.is_file()}
    acquire.run(params(stac), Paths(root))
    assert {p.name: p.read_bytes() for p in (root / "data/raw").rglob("*") if p.is_file()} == before


def test_both_over_the_network_with_nothing_in_inputs(stac: StacServer, osm: OsmServer, root: Path) -> None:
    (root / "inputs/labels.gpkg").unlink()
    catalog = acquire.run(with_osm(stac, osm), Paths(root))
    assert catalog.source == "stac+osm"
    assert catalog.labels.licence.startswith("ODbL-1.0")
    assert [a.id for a in catalog.assets] == ["s2a", "s2a", "s2a", "overpass"]
    assert read_vectors(root / "data/raw/labels.gpkg", "labels")["source_id"].tolist() == ["way/31"]


def test_a_younger_data_base_with_the_same_outlines_changes_nothing(stac: StacServer, osm: OsmServer,
                                                                    root: Path) -> None:
    acquire.run(with_osm(stac, osm), Paths(root))
    before = {p.name: p.read_bytes() for p in (root / "data/raw").rglob("*") if p.is_file()}
    osm.base = "2025-01-01T00:00:00Z"
    acquire.run(with_osm(stac, osm), Paths(root))
    assert {p.name: p.read_bytes() for p in (root / "data/raw").rglob("*") if p.is_file()} == before


def test_labels_that_fail_keep_what_was_downloaded(stac: StacServer, osm: OsmServer, root: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(root.parent / "real"))
    with pytest.raises(LabelError, match="must find outlines within the footprint"):
        acquire.run(with_osm(stac, osm, tags={"natural": {"water": "water"}}), Paths(root))
    assert not (root / "data/raw").exists()
    assert len(list((root.parent / "real/.kumulus/downloads").glob("*/*.tif"))) == 3
    asked = len(stac.asset_paths())
    acquire.run(with_osm(stac, osm), Paths(root))
    assert len(stac.asset_paths()) == asked
    assert list((root.parent / "real/.kumulus/downloads").glob("*/*.tif")) == []


def test_outlines_over_the_users_own_scenes(osm: OsmServer, stac: StacServer, root: Path) -> None:
    acquire.run(params(stac), Paths(root))
    (root / "data/raw/scenes/s2a.tif").rename(root / "inputs/mine.tif")
    own = {"scenes": [{"id": "mine", "path": "inputs/mine.tif"}]}
    found = with_osm(stac, osm)
    changed = Params({**found.raw, "acquire": {**found.raw["acquire"], "source": "local", "local": own}})
    catalog = acquire.run(changed, Paths(root))
    assert (catalog.source, [s.id for s in catalog.scenes], catalog.labels.count) == ("local+osm", ["mine"], 1)


def test_main_answers_a_dead_api_in_one_line(stac: StacServer, root: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    dead = params(stac, stac={**stac.params().model_dump(mode="json"), "url": "http://127.0.0.1:9",
                              "retry": {"times": 0}})
    monkeypatch.chdir(root)
    monkeypatch.setattr(acquire, "load", lambda _: dead)
    with pytest.raises(SystemExit):
        acquire.main()
    message = capsys.readouterr().err
    assert message.startswith("acquire: acquire.stac.url http://127.0.0.1:9 must answer as a STAC API")
    assert message.count("\n") == 1
    with pytest.raises(SceneError):
        acquire.run(dead, Paths(root))
