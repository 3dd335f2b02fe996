"""Which items a search takes, and what APIs that are busy, broken or none lead to."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import SceneError
from pipeline.sources.stac.search import search
from tests.unit.sources.stac.stac_server import StacServer, grid, lonlat


def found(server: StacServer, **changes: Any) -> list[str]:
    return [item.id for item in search(server.params(**changes), lonlat()).items]


def clouds(server: StacServer, **covers: float | None) -> None:
    for id_, cover in covers.items():
        server.add_item(id_, {"B02": "none.tif"}, cover)


def test_least_cloudy_over_all_pages_ties_by_id(server: StacServer) -> None:
    clouds(server, e=9, d=2, c=5, b=2, a=7)
    assert found(server, scenes=4) == ["b", "d", "c", "a"]
    assert server.paths("POST") == ["/search"] * 3, "five items come in pages of two"
    assert search(server.params(), lonlat()).licences == {"s2": "CC-BY-4.0"}


def test_the_api_filters_by_time_collection_area_and_cloud(server: StacServer) -> None:
    clouds(server, bright=3, dull=60)
    server.add_item("early", {}, 0, day="2024-01-01")
    server.add_item("elsewhere", {}, 0, footprint=grid(64, left=900000))
    assert found(server, max_cloud_cover=20) == ["bright"]
    sent = json.loads([r for r in server.requests if r.method == "POST"][-1].body)
    assert sent["query"] == {"eo:cloud_cover": {"lte": 20}}
    assert sent["datetime"] == "2024-05-01T00:00:00Z/2024-05-31T23:59:59Z"
    assert sent["bbox"] == list(lonlat())


def test_an_api_without_query_is_filtered_here(tmp_path: Path) -> None:
    with StacServer(tmp_path, conforms=()) as server:
        clouds(server, dull=60, bright=3, silent=None)
        assert found(server, max_cloud_cover=20) == ["bright"]
        assert "query" not in json.loads([r for r in server.requests if r.method == "POST"][-1].body)
        assert found(server, scenes=3) == ["bright", "dull", "silent"], "what states no cover comes last"


def test_items_must_cover_the_area(server: StacServer) -> None:
    clouds(server, whole=50)
    server.add_item("half", {}, 1, footprint=grid(42))
    assert found(server) == ["whole"]
    assert found(server, min_cover=0.1) == ["half"]


def test_a_later_processing_replaces_an_earlier_one(server: StacServer) -> None:
    for id_, tile, baseline in (("x_1", "50MKU", "05.10"), ("x_0", "50MKU", "02.09"), ("y_0", "50MKV", "02.09")):
        server.add_item(id_, {}, 5, **{"grid:code": tile, "s2:processing_baseline": baseline})
    with pytest.warns(UserWarning, match="1 of 3 items found are left out, because a later processing"):
        assert found(server, scenes=2) == ["x_1", "y_0"]


@pytest.mark.parametrize(("changes", "message"), [
    ({"datetime": "2020-01-01/2020-02-01"}, r"at least scenes=1 item\(s\): 0 match the search"),
    ({"max_cloud_cover": 1}, "0 match the search"),
    ({"scenes": 3}, "at least scenes=3 .* 2 match the search, 2 of them .* 2 of those cover 90% .*the best 100%"),
    ({"collections": ["s3"]}, "must name collections of http.*: it has no 's3'"),
    ({"max_items": 1}, "at most max_items=1 items: there are more; narrow datetime"),
    ({"url": "http://127.0.0.1:9", "retry": {"times": 0}}, "acquire.stac.url http://127.0.0.1:9 must answer as a STAC"),
])
def test_searches_that_are_refused(server: StacServer, changes: dict[str, Any], message: str) -> None:
    clouds(server, a=5, b=6)
    with pytest.raises(SceneError, match=message):
        found(server, **changes)


def test_a_static_catalog_is_refused(server: StacServer) -> None:
    server.has_search = False
    with pytest.raises(SceneError, match="landing page has no link to a search"):
        found(server)


@pytest.mark.parametrize("page", ["/page", "/other", "/none"])
def test_what_is_no_stac_api_is_refused(server: StacServer, page: str) -> None:
    with pytest.raises(SceneError, match=f"{server.url}{page} must answer as a STAC API"):
        found(server, url=server.url + page)


def test_a_busy_api_is_asked_again_and_a_broken_one_named(server: StacServer) -> None:
    clouds(server, a=5)
    server.failures |= {"/": [503], "/search": [502, 503]}
    assert found(server) == ["a"]
    server.broken["/search"] = 500
    with pytest.raises(SceneError, match=f"{server.url} must answer as a STAC API: .*500"):
        found(server)


def test_levels_do_not_mix(server: StacServer) -> None:
    from pipeline.sources.stac.search import check_one_level

    server.add_item("top", {}, 1, **{"s2:product_type": "S2MSI1C"})
    server.add_item("bottom", {}, 2, **{"processing:level": "L2A"})
    items = search(server.params(scenes=2), lonlat()).items
    with pytest.raises(SceneError, match=r"got top L1C, bottom L2A; name one of \['s2'\].*or set acquire.mixed_levels"):
        check_one_level(items, server.params())
    check_one_level(items[:1], server.params())
