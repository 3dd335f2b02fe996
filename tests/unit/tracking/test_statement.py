import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import IntegrityError
from pipeline.tracking.statement import Ancestor, Resource, parse, read

RAW: dict[str, Any] = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "maps/a.tif", "digest": {"sha256": "5a"}}],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {
        "buildDefinition": {
            "buildType": "urn:kumulus:export:1",
            "externalParameters": {"params": {"seed": 1}},
            "internalParameters": {"stages": {"train": {"environment": {"device": "cpu"}}}, "warm_start": {}},
            "resolvedDependencies": [
                {"name": "data/raw/a.tif", "uri": "inputs/a.tif", "digest": {"sha256": "1a"},
                 "annotations": {"kind": "source", "licence": "CC0"}},
                {"name": "data/raw", "digest": {"md5": "0c.dir", "sha256": "2a"},
                 "annotations": {"kind": "artifact", "stage": "acquire"}},
                {"name": "data/raw/a.tif", "digest": {"md5": "0d", "sha256": "1a"},
                 "annotations": {"kind": "file", "artifact": "data/raw"}},
                {"name": "pipeline/x.py", "digest": {"gitBlob": "0e", "sha256": "3a"},
                 "annotations": {"kind": "code", "stages": ["acquire", "train"]}},
            ],
        },
        "runDetails": {
            "builder": {"id": "urn:kumulus", "version": {"kumulus": "0.1.0"}},
            "metadata": {
                "invocationId": "k1", "finishedOn": "2026-01-01T00:00:00+00:00",
                "kumulus": {"provenance": {"sha256": "ab"}, "run": {"key": "k1", "environment": {"device": "cpu"}},
                            "git": {"commit": "c0", "dirty": True}, "registered_model": "town",
                            "unsealings": [{"look": 1}], "ancestry": []},
            },
            "byproducts": [],
        },
    },
}


def changed(dotted: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    node: Any = raw
    *parents, last = dotted.split(".")
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    node[int(last) if isinstance(node, list) else last] = value
    return raw


def test_all_of_it_is_read() -> None:
    found = parse(RAW)
    assert (found.kind, found.provenance, found.subjects) == ("export", "ab", {"maps/a.tif": "5a"})
    assert found.resources == (
        Resource("data/raw/a.tif", "source", "1a", uri="inputs/a.tif", licence="CC0"),
        Resource("data/raw", "artifact", "2a", md5="0c.dir", stages=("acquire",)),
        Resource("data/raw/a.tif", "file", "1a", md5="0d", artifact="data/raw"),
        Resource("pipeline/x.py", "code", "3a", git_blob="0e", stages=("acquire", "train")),
    )
    assert found.of_kind("file", "code") == found.resources[2:]
    assert (found.params, found.environments) == ({"seed": 1}, {"train": {"device": "cpu"}})
    assert (found.run_key, found.run["environment"]) == ("k1", {"device": "cpu"})
    assert (found.commit, found.dirty, found.registered_model) == ("c0", True, "town")
    assert (found.unsealings, found.ancestry) == (({"look": 1},), ())
    assert (found.finished, found.raw) == ("2026-01-01T00:00:00+00:00", RAW)


def test_what_a_prediction_has_not_is_empty() -> None:
    raw = changed("predicate.buildDefinition.buildType", "urn:kumulus:prediction:1")
    raw["predicate"]["runDetails"]["metadata"]["kumulus"] = {"provenance": None}
    found = parse(raw)
    assert (found.kind, found.provenance, found.run_key, found.run, found.commit, found.dirty) == (
        "prediction", "", "", {}, None, False)
    assert (found.registered_model, found.unsealings, found.ancestry) == ("", (), ())


def of_weights(*ancestors: dict[str, Any]) -> dict[str, Any]:
    return changed("predicate.runDetails.metadata.kumulus.ancestry", list(ancestors))


def test_ancestry_goes_back_through_the_statements_nearest_first() -> None:
    oldest = {"sha256": "w0", "uri": "", "statement": None}
    middle = of_weights(oldest)
    found = parse(of_weights({"sha256": "w1", "uri": "runs:/1", "run_key": "k0", "statement": middle},
                             {"sha256": "w2", "uri": "", "statement": None}))
    nearest, second, last = found.ancestry
    assert (nearest.sha256, nearest.uri, nearest.run_key) == ("w1", "runs:/1", "k0")
    assert nearest.statement is not None
    assert nearest.statement.raw == middle
    assert (second, last) == (Ancestor("w2"), Ancestor("w0"))


@pytest.mark.parametrize(("raw", "said"), [
    ({"format": "kumulus-lineage-1"}, "earlier version, which cannot be checked; run `dvc repro --force --single-item"),
    (changed("_type", "https://in-toto.io/Statement/v0.1"), r"must have _type .*/v1: got 'https://in-toto.io/Statement/v0"),
    (changed("predicateType", None), "must have predicateType .*: got None"),
    (changed("predicate.buildDefinition.buildType", "urn:kumulus:export:2"), "got 'urn:kumulus:export:2'"),
    (changed("predicate", []), "must have predicate.buildDefinition, an object: got NoneType"),
    (changed("predicate.runDetails.metadata.kumulus", 3), "must have metadata.kumulus, an object: got int"),
    (changed("subject.0", {"name": "a"}), "must be whole, as `kumulus` writes it: KeyError 'digest'"),
    (changed("predicate.buildDefinition.resolvedDependencies.1.annotations", {}), "KeyError 'kind'"),
    (changed("predicate.buildDefinition.resolvedDependencies", None), "must be whole, .*TypeError"),
    (changed("predicate.buildDefinition.resolvedDependencies.0", "x"), "must be whole, .*TypeError"),
    (of_weights({"sha256": "w", "statement": {"_type": "x"}}), "must have _type"),
])
def test_what_is_no_statement_is_refused(raw: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=said):
        parse(raw)
    (tmp_path / "lineage.json").write_text(json.dumps(raw))
    with pytest.raises(IntegrityError, match=rf"lineage\.json: .*{said}"):
        read(tmp_path / "lineage.json")


@pytest.mark.parametrize(("data", "said"), [
    (None, "must be a lineage.json: not found"), (b"{", "which is JSON: "), (b"\xff\xfe\x00", "which is JSON: "),
    (b"[]", "a JSON object: got list")])
def test_a_file_that_is_none(tmp_path: Path, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(IntegrityError, match=said):
        read(tmp_path / "x.json")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "lineage.json").write_text(json.dumps(RAW))
    assert read(tmp_path / "lineage.json") == parse(RAW)
