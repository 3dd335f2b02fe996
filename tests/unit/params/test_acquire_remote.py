"""Params of remote sources: what is taken, what is refused, and no password repeated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.errors import ParamsError
from pipeline.params.acquire import AcquireParams
from pipeline.params.load import Params, load
from pipeline.params.recipes import use

Small = Callable[..., dict[str, Any]]

STAC = {"url": "https://api.org", "collections": ["s2"], "bbox": [106.8, -6.3, 106.9, -6.2],
        "bands": {"blue": "blue", "green": "green", "red": "red", "nir": "nir"}}
LABELS = {"path": "inputs/labels.gpkg", "classes": {"1": "water"}}
TAGS = {"natural": {"water": "water"}}


def acquire(small: Small, **changes: Any) -> AcquireParams:
    given = {"source": "stac", "stac": STAC, "local": {"labels": LABELS}, **changes}
    return Params(small({f"acquire.{key}": value for key, value in given.items()})).section(AcquireParams)


def test_defaults_need_no_network(small_params: Small) -> None:
    assert not Params(small_params()).section(AcquireParams).is_remote


def test_scenes_and_labels_each_have_their_source(small_params: Small) -> None:
    assert acquire(small_params).is_remote
    found = acquire(small_params, labels_from="osm", osm={"tags": TAGS}, local={})
    assert found.osm.tags == TAGS
    local = {"scenes": [{"id": "a", "path": "inputs/a.tif"}]}
    assert acquire(small_params, source="local", local=local, labels_from="osm", osm={"tags": TAGS}).is_remote


@pytest.mark.parametrize(("stac", "message"), [
    ({"url": ""}, "acquire.stac.url must name the API's root when acquire.source is stac"),
    ({"collections": []}, "acquire.stac.collections must name at least one collection"),
    ({"bbox": []}, "must have an area when acquire.source is stac: got neither bbox nor aoi"),
    ({"aoi": "inputs/a.gpkg"}, "must have one area: got both bbox and aoi"),
    ({"bbox": [], "aoi": "elsewhere/a.gpkg"}, "must lie in acquire.inputs, .*'elsewhere/a.gpkg' is not in 'inputs'"),
    ({"bbox": [1, 2, 3]}, r"must be west, south, east, north in degrees: got \[1.0, 2.0, 3.0\]"),
    ({"bbox": [107, -7, 106, -6]}, "must be west < east .*; divide an area that crosses the antimeridian"),
    ({"bbox": [700000, 0, 800000, 1]}, "within 180 and south < north within 90 degrees"),
    ({"bands": {"blue": "B02"}}, r"must give every band of task.bands .*: \['green', 'red', 'nir'\] missing"),
    ({"mask": {"asset": "scl"}}, r"both an asset and the values that are left out: got asset 'scl' and values \[\]"),
    ({"mask": {"values": [3]}}, r"got asset '' and values \[3\]"),
    ({"mask": {"dilate_m": 3}}, r"got asset '' and values \[\]"),
    ({"sign": "a.b"}, "acquire.stac.sign: String should match pattern"),
    ({"choice": "mean"}, "acquire.stac.choice: Input should be 'least_cloudy' or 'median'"),
    ({"datetime": "2024-13-99"}, "datetime must be a date, an RFC 3339 time, .*got '2024-13-99', .*month must be in"),
    ({"datetime": "yesterday"}, "of which 'yesterday' is none .*write it such as 2024-05-17 or 2024-05-17T03:00:00Z"),
    ({"datetime": "2024-05-01/2024-02-30"}, "got '2024-05-01/2024-02-30', of which '2024-02-30' is none"),
    ({"datetime": "2024-05-17T25:00:00Z"}, "hour must be in"),
    ({"datetime": "2024-05-17 03:00:00"}, "it is not spelled so"),
    ({"datetime": "/2024-05-17"}, "of which '' is none"),
    ({"datetime": "2024/2025/2026"}, "got '2024/2025/2026'; write one /"),
    ({"datetime": "../.."}, "got '../..'; leave it empty for any time"),
    ({"datetime": ".."}, "leave it empty for any time"),
    ({"datetime": "2024/9999"}, "an open end is written .."),
    ({"datetime": "2024-06-01/2024-05-31"}, "must start before it ends: got '2024-06-01/2024-05-31'; exchange"),
    ({"url": "https://bob:hunter2@api.org/v1"}, "acquire.stac.url must hold no user name or password, .* before the "
                                               "host api.org; put it into ~/.netrc"),
    ({"max_clouds": 3}, "acquire.stac.max_clouds is not a known key; did you mean"),
    ({"quantification": 0}, "acquire.stac.quantification: Input should be greater than 0"),
])
def test_searches_that_are_refused(small_params: Small, stac: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        acquire(small_params, stac={**STAC, **stac})


@pytest.mark.parametrize("given", [
    "", "2024", "2024-05", "2024-02-29", "2024-05-17T03:00:00Z", "2024-05-17t03:00:00.25+07:00", "2024-05-17T03:00:00",
    "2024-05-01/2024-06-30", "2024-05/2024-05", "../2024-05-17", "2024-05-17T03:00:00Z/..", "2024-12-31/2025"])
def test_times_that_are_asked_for(small_params: Small, given: str) -> None:
    assert acquire(small_params, stac={**STAC, "datetime": given}).stac.datetime == given


def test_a_refused_password_is_not_repeated(small_params: Small) -> None:
    with pytest.raises(ParamsError) as caught:
        acquire(small_params, stac={**STAC, "url": "https://bob:hunter2@api.org/v1"})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ParamsError) as caught:
        acquire(small_params, labels_from="osm", osm={"tags": TAGS, "url": "https://a.org/api?key=hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("osm", "message"), [
    ({"tags": TAGS, "url": "https://bob:hunter2@a.org/api"}, "acquire.osm.url must hold no user name or password"),
    ({"tags": TAGS, "nominatim_url": "https://bob@a.org"}, "acquire.osm.nominatim_url must hold no user name"),
    ({"tags": TAGS, "url": "https://a.org/api?key=hunter2"}, "acquire.osm.url must be an address that a path can be "
                                                            "added to: .*after a.org/api; remove it"),
    ({}, r"acquire.osm.tags must map tags to classes when acquire.labels_from is osm: got none"),
    ({"tags": {"natural": {}}}, r"must map values of each key to classes: \['natural'\] map none; such as natural:"),
    ({"tags": {"natural": {"water": "sea"}}}, r"acquire.osm.tags.natural\['water'\] must name a class of task.classes"),
    ({"tags": {"natural": {"water": "ignore"}}}, "must map a tag to a class: all are mapped to 'ignore'"),
    ({"tags": TAGS, "priority": ["vegetation"]}, r"must name classes that acquire.osm.tags leads to, \['water'\]"),
    ({"tags": TAGS, "priority": ["water", "water"]}, r"must name each class once: \['water'\] occur twice"),
])
def test_tags_that_are_refused(small_params: Small, osm: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        acquire(small_params, labels_from="osm", osm=osm)


def test_labels_come_from_somewhere(small_params: Small) -> None:
    with pytest.raises(ParamsError, match=r"label file when acquire.source is stac and acquire.labels_from is local"):
        acquire(small_params, local={})
    with pytest.raises(ParamsError, match=r"labels_from must be local when acquire.source is synthetic"):
        acquire(small_params, source="synthetic", labels_from="osm")


def test_the_documented_example_is_valid_where_it_is_to_be_put(tmp_path: Path, project: Path) -> None:
    text = (project / "docs/stac-osm.md").read_text(encoding="utf-8")
    example = YAML(typ="safe", pure=True).load(text.split("```yaml\n")[1].split("```")[0])
    file = tmp_path / "params.yaml"
    file.write_text((project / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    use(file, project / "recipes", "landcover")
    found = Params({**load(file).raw, **example}).section(AcquireParams)
    assert found.is_remote
    assert found.stac.mask.values == (3, 8, 9, 10)
