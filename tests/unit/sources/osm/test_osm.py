"""Labels of OpenStreetMap from a server on loopback: classes by tags, holes, busy and broken servers."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
from affine import Affine
from pyproj import CRS

from pipeline.errors import LabelError
from pipeline.geo.grid import Grid
from pipeline.params.acquire_remote import OsmParams
from pipeline.sources.catalog import Asset
from pipeline.sources.osm.labels import LICENCE, classes_of, footprint, read_osm, request_of_osm
from tests.unit.sources.osm.osm_server import LAT, LON, STEP, OsmServer


@pytest.fixture
def server() -> Iterator[OsmServer]:
    with OsmServer() as started:
        yield started


def scene(left: float = 0, side: int = 20) -> Grid:
    corner = Affine(STEP, 0, LON + left * STEP, 0, -STEP, LAT + side * STEP)
    return Grid(CRS.from_epsg(4326).to_wkt(), corner, side, side)


def read(params: OsmParams, folder: Path, coverage: str = "sparse",
         **grids: Grid) -> tuple[gpd.GeoDataFrame, tuple[Asset, ...]]:
    return read_osm(params, grids or {"scene": scene()}, coverage, folder)


def town(server: OsmServer) -> None:
    server.square(31, 2, 2, landuse="residential")
    server.square(12, 8, 8, natural="water")
    server.square(50, 12, 12, building="yes")


def test_outlines_with_their_classes_and_the_query(server: OsmServer, tmp_path: Path) -> None:
    town(server)
    frame, assets = read(server.params(), tmp_path)
    assert frame["source_id"].tolist() == ["way/12", "way/31"]
    assert frame["class"].tolist() == ["water", "town"]
    assert frame.crs.to_epsg() == 4326
    assert frame.geometry.iloc[1].bounds == pytest.approx((LON + 0.002, LAT + 0.002, LON + 0.004, LAT + 0.004))
    assert len(assets) == 1
    assert (assets[0].id, assets[0].href, assets[0].licence) == ("overpass", f"{server.url}/api/interpreter", LICENCE)
    assert assets[0].note == server.queries()[0]
    assert "['landuse'='residential']" in assets[0].note


def test_the_digest_is_of_elements_not_of_dates_or_order(server: OsmServer, tmp_path: Path) -> None:
    town(server)
    _, first = read(server.params(), tmp_path / "a")
    server.base = "2025-01-01T00:00:00Z"
    server.elements.reverse()
    _, second = read(server.params(), tmp_path / "b")
    assert first == second, "the whole record, or data/raw would change with the minute of the data base"
    server.square(60, 5, 5, natural="water")
    _, third = read(server.params(), tmp_path / "c")
    assert third[0].sha256 != second[0].sha256


def test_holes_of_relations_stay_holes(server: OsmServer, tmp_path: Path) -> None:
    server.square(1000, 2, 2, side=6)
    server.square(1001, 4, 4, side=2)
    server.relation(7, 1000, 1001, landuse="residential")
    frame, _ = read(server.params(), tmp_path)
    assert frame["source_id"].tolist() == ["relation/7"]
    assert frame.geometry.iloc[0].area == pytest.approx((36 - 4) * STEP**2)


def test_only_areas_are_labels_and_the_rest_is_counted(server: OsmServer, tmp_path: Path) -> None:
    town(server)
    server.nodes((5, 5), tags={"landuse": "residential"})
    server.way(70, [(1, 1), (9, 1)], closed=False, natural="water")
    with pytest.warns(UserWarning, match="OpenStreetMap: 1 LineString, 1 Point left out of 4 features"):
        frame, _ = read(server.params(), tmp_path)
    assert len(frame) == 2
    server.elements = [e for e in server.elements if e["type"] == "node" and "tags" in e]
    with pytest.raises(LabelError, match="got only 1 Point, which cover no ground; choose tags of areas"):
        read(server.params(), tmp_path / "points")


@pytest.mark.parametrize(("tags", "expected"), [
    ({"landuse": "residential"}, ["town"]), ({"building": "hut"}, ["house"]), ({"building": "ruins"}, ["ignore"]),
    ({"landuse": "residential", "building": "hut"}, ["house", "town"]),
    ({"landuse": "residential", "natural": "water"}, ["water", "town"]),
    ({"building": "hut;ruins"}, ["house", "ignore"]), ({"landuse": float("nan"), "natural": "water"}, ["water"]),
])
def test_classes_by_tags(tags: dict[str, Any], expected: list[str]) -> None:
    params = OsmParams(priority=("water",), tags={"landuse": {"residential": "town"}, "natural": {"water": "water"},
                                                  "building": {"*": "house", "ruins": "ignore"}})
    assert classes_of(tags, params) == expected


def test_priority_decides_between_classes_and_who_lies_on_top(server: OsmServer, tmp_path: Path) -> None:
    server.square(1000, 2, 2, landuse="residential", natural="water")
    server.square(1001, 2, 2, landuse="residential")
    with pytest.raises(LabelError, match=r"way/1000 has tags of \['town', 'water'\], as 1 outline\(s\) do; name the "
                                         r"class that wins in acquire.osm.priority"):
        read(server.params(), tmp_path)
    frame, _ = read(server.params(priority=["water"]), tmp_path)
    assert frame[["source_id", "class"]].to_numpy().tolist() == [["way/1001", "town"], ["way/1000", "water"]]
    frame, _ = read(server.params(priority=["town", "water"]), tmp_path)
    assert frame["class"].tolist() == ["town", "town"]


def test_any_value_of_a_key(server: OsmServer, tmp_path: Path) -> None:
    town(server)
    server.square(51, 15, 15, building="ruins")
    frame, _ = read(server.params(tags={"building": {"*": "town", "ruins": "ignore"}}), tmp_path)
    assert frame["class"].tolist() == ["town", "ignore"]
    assert "['building'](poly" in server.queries()[0]


def test_no_outlines(server: OsmServer, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"must find outlines within the footprint of scenes \['scene'\]: .* has none "
                                         r"with landuse=residential, natural=water"):
        read(server.params(), tmp_path)


def test_only_ignored_outlines(server: OsmServer, tmp_path: Path) -> None:
    town(server)
    tags = {"natural": {"water": "ignore"}, "landuse": {"forest": "town"}}
    with pytest.raises(LabelError, match=r"must find outlines of a class within .*: all 1 are mapped to 'ignore'"):
        read(server.params(tags=tags), tmp_path)


def test_places_by_name(server: OsmServer, tmp_path: Path) -> None:
    town(server)
    server.add_place("Waterside", 7, 7, 4)
    frame, assets = read(server.params(place="Waterside"), tmp_path)
    assert frame["class"].tolist() == ["water"], "what does not meet the place is not asked for"
    assert [(a.id, a.role) for a in assets] == [("overpass", "labels"), ("nominatim", "place")]
    assert "q=Waterside" in assets[1].note
    with pytest.warns(UserWarning, match="'Waterside' does not cover the scenes: .* counts as background"):
        read(server.params(place="Waterside"), tmp_path, coverage="exhaustive")
    server.places[0] |= {"place_id": 2, "importance": 0.6}
    _, later = read(server.params(place="Waterside"), tmp_path / "later")
    assert later == assets
    server.add_place("Point", 7, 7, 4, kind="Point")
    for name in ("Nowhere", "Point"):
        with pytest.raises(LabelError, match=f"acquire.osm.place must be a place with a boundary .*: got '{name}'"):
            read(server.params(place=name), tmp_path / name)


def test_scenes_far_apart_are_asked_for_one_by_one(server: OsmServer, tmp_path: Path) -> None:
    assert len(footprint({"a": scene(), "b": scene(10), "c": scene(100)})) == 2
    town(server)
    server.square(90, 102, 2, landuse="residential")
    server.square(91, 60, 2, landuse="residential")
    frame, assets = read(server.params(), tmp_path, a=scene(), c=scene(100))
    assert frame["source_id"].tolist() == ["way/12", "way/31", "way/90"]
    assert len(assets) == len(server.queries()) == 2


def test_busy_servers_are_asked_again_and_answers_kept(server: OsmServer, tmp_path: Path) -> None:
    town(server)
    server.failures["/api/interpreter"] = [504, 429]
    assert len(read(server.params(), tmp_path)[0]) == 2
    asked = len(server.requests)
    again, assets = read(server.params(), tmp_path)
    assert len(server.requests) == asked, "an interrupted run finds its answers"
    assert (len(again), len(assets)) == (2, 1)
    for file in (tmp_path / "answers").iterdir():
        file.write_text('{"elements": [')
    assert len(read(server.params(), tmp_path)[0]) == 2, "a half-written answer is asked for again"
    assert len(server.requests) == asked + 1


@pytest.mark.parametrize(("status", "times"), [(503, 3), (400, 1)])
def test_a_broken_server_is_named(server: OsmServer, tmp_path: Path, status: int, times: int) -> None:
    server.broken["/api/interpreter"] = status
    with pytest.raises(LabelError, match=f"acquire.osm.url {server.url}/api must answer: {status} ") as caught:
        read(server.params(), tmp_path)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == times


def test_an_unfinished_query_is_no_answer(server: OsmServer, tmp_path: Path) -> None:
    town(server)
    server.remark = "runtime error: Query timed out"
    with pytest.raises(LabelError, match=r"the query was not finished .*timed out"):
        read(server.params(), tmp_path)


def test_slots_are_asked_for_when_said(server: OsmServer, tmp_path: Path) -> None:
    town(server)
    read(server.params(), tmp_path / "a")
    assert "/api/status" not in server.paths()
    read(server.params(rate_limit=True), tmp_path / "b")
    assert server.paths()[-2:] == ["/api/status", "/api/interpreter"]
    server.slots = 0
    with pytest.raises(LabelError, match=r"must manage slots where acquire.osm.rate_limit is true.*to false"):
        read(server.params(rate_limit=True), tmp_path / "c")
    server.broken["/api/status"] = 404
    with pytest.raises(LabelError, match="must manage slots"):
        read(server.params(rate_limit=True), tmp_path / "d")


def test_osmnx_is_left_as_it_was(server: OsmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from osmnx import settings

    monkeypatch.chdir(tmp_path)
    town(server)
    before = (socket.getaddrinfo, {k: v for k, v in vars(settings).items() if not k.startswith("_")})
    read(server.params(), tmp_path / "kept")
    assert (socket.getaddrinfo, {k: v for k, v in vars(settings).items() if not k.startswith("_")}) == before
    assert [p.name for p in tmp_path.iterdir()] == ["kept"], "no cache in the working folder"


def test_the_folder_is_named_by_what_changes_the_questions(server: OsmServer) -> None:
    grids = {"scene": scene()}
    base = request_of_osm(server.params(), grids)
    assert request_of_osm(server.params(priority=["town"], retry={"times": 9}), grids) == base
    assert request_of_osm(server.params(), {"scene": scene(1)}) != base
    assert request_of_osm(server.params(place="X"), grids) != base
    assert request_of_osm(server.params(tags={"building": {"*": "town"}}), grids) != base
