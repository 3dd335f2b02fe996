"""Statements are read whole, and what is none, broken or hostile is refused in one line."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import IntegrityError
from pipeline.tracking.statement import Ancestor, Resource, loads, parse, read
from pipeline.tracking.wellformed import provenance_of

#: Digests of three lengths, each told from another by its first digits.
S5, S1, S2, S3, AB, W0, W1, W2 = (text * 32 for text in ("5a", "1a", "2a", "3a", "ab", "a0", "a1", "a2"))
FOLDER, FILE, BLOB, COMMIT = "0c" * 16 + ".dir", "0d" * 16, "0e" * 20, "c0" * 20

RAW: dict[str, Any] = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "maps/a.tif", "digest": {"sha256": S5}}],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {
        "buildDefinition": {
            "buildType": "urn:kumulus:export:1",
            "externalParameters": {"params": {"seed": 1}},
            "internalParameters": {"stages": {"train": {"environment": {"device": "cpu"}}}, "warm_start": {}},
            "resolvedDependencies": [
                {"name": "data/raw/a.tif", "uri": "inputs/a.tif", "digest": {"sha256": S1},
                 "annotations": {"kind": "source", "licence": "CC0"}},
                {"name": "data/raw", "digest": {"md5": FOLDER, "sha256": S2},
                 "annotations": {"kind": "artifact", "stage": "acquire"}},
                {"name": "data/raw/a.tif", "digest": {"md5": FILE, "sha256": S1},
                 "annotations": {"kind": "file", "artifact": "data/raw"}},
                {"name": "pipeline/x.py", "digest": {"gitBlob": BLOB, "sha256": S3},
                 "annotations": {"kind": "code", "stages": ["acquire", "train"]}},
            ],
        },
        "runDetails": {
            "builder": {"id": "urn:kumulus", "version": {"kumulus": "0.1.0"}},
            "metadata": {
                "invocationId": "k1", "finishedOn": "2026-01-01T00:00:00+00:00",
                "kumulus": {"provenance": {"sha256": AB}, "run": {"key": "k1", "environment": {"device": "cpu"}},
                            "git": {"commit": COMMIT, "dirty": True}, "registered_model": "town",
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
    assert (found.kind, found.provenance, found.subjects) == ("export", AB, {"maps/a.tif": S5})
    assert found.resources == (
        Resource("data/raw/a.tif", "source", S1, uri="inputs/a.tif", licence="CC0"),
        Resource("data/raw", "artifact", S2, md5=FOLDER, stages=("acquire",)),
        Resource("data/raw/a.tif", "file", S1, md5=FILE, artifact="data/raw"),
        Resource("pipeline/x.py", "code", S3, git_blob=BLOB, stages=("acquire", "train")),
    )
    assert found.of_kind("file", "code") == found.resources[2:]
    assert (found.params, found.environments) == ({"seed": 1}, {"train": {"device": "cpu"}})
    assert (found.run_key, found.run["environment"]) == ("k1", {"device": "cpu"})
    assert (found.commit, found.dirty, found.registered_model) == (COMMIT, True, "town")
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
    oldest = {"sha256": W0, "uri": "", "statement": None}
    middle = of_weights(oldest)
    found = parse(of_weights({"sha256": W1, "uri": "runs:/1", "run_key": "k0", "statement": middle},
                             {"sha256": W2, "uri": "", "statement": None}))
    nearest, second, last = found.ancestry
    assert (nearest.sha256, nearest.uri, nearest.run_key) == (W1, "runs:/1", "k0")
    assert nearest.statement is not None
    assert nearest.statement.raw == middle
    assert (second, last) == (Ancestor(W2), Ancestor(W0))


@pytest.mark.parametrize(("raw", "said"), [
    ({"format": "kumulus-lineage-1"}, "earlier version, which cannot be checked; run `dvc repro --force --single-item"),
    (changed("_type", "https://in-toto.io/Statement/v0.1"), r"must have _type .*/v1: got 'https://in-toto.io/Statement/v0"),
    (changed("predicateType", None), "must have predicateType .*: got None"),
    (changed("predicate.buildDefinition.buildType", "urn:kumulus:export:2"), "got 'urn:kumulus:export:2'"),
    (changed("predicate", []), "must have predicate.buildDefinition, an object: got NoneType"),
    (changed("predicate.runDetails.metadata.kumulus", 3), "must have metadata.kumulus, an object: got int"),
    (changed("subject.0", {"name": "a"}), "must be whole, as `kumulus` writes it: a part has no digest"),
    (changed("predicate.buildDefinition.resolvedDependencies.1.annotations", {}), "a part has no kind"),
    (changed("predicate.buildDefinition.resolvedDependencies.1.annotations.kind", "soup"),
     "kind must be one of .*: got 'soup'"),
    (changed("predicate.buildDefinition.resolvedDependencies", None), "resolvedDependencies must be a list: got None"),
    (changed("predicate.buildDefinition.resolvedDependencies.0", "x"), "must be whole, .* has no digest"),
    (of_weights({"sha256": W0, "statement": {"_type": "x"}}), "must have _type"),
])
def test_what_is_no_statement_is_refused(raw: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=said):
        parse(raw)
    (tmp_path / "lineage.json").write_text(json.dumps(raw))
    with pytest.raises(IntegrityError, match=rf"lineage\.json: .*{said}"):
        read(tmp_path / "lineage.json")


@pytest.mark.parametrize(("data", "said"), [
    (None, "must be a lineage.json: not found"), (b"{", "must be JSON: "), (b"\xff\xfe\x00", "must be JSON: "),
    (b"[]", "must be an object: got list")])
def test_a_file_that_is_none(tmp_path: Path, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(IntegrityError, match=said):
        read(tmp_path / "x.json")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "lineage.json").write_text(json.dumps(RAW))
    assert read(tmp_path / "lineage.json") == parse(RAW)


DEFINITION, METADATA = "predicate.buildDefinition", "predicate.runDetails.metadata"
OWN, RESOURCES = f"{METADATA}.kumulus", f"{DEFINITION}.resolvedDependencies"


def twice(dotted: str, at: int, **changes: Any) -> dict[str, Any]:
    """An entry of a list once more, with changes."""
    raw = copy.deepcopy(RAW)
    node: Any = raw
    for part in dotted.split("."):
        node = node[part]
    node.append({**copy.deepcopy(node[at]), **changes})
    return raw


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "a subject that is a list": (changed("subject.0", []), "a part has no name"),
    "subjects that are an object": (changed("subject", {}), "subject must be a list: got dict"),
    "no subjects": (changed("subject", None), "subject must be a list: got None"),
    "a subject that leads up": (changed("subject.0.name", "../../etc/passwd"), "a subject must be a path below"),
    "an absolute subject": (changed("subject.0.name", "/etc/passwd"), "a subject must be a path below"),
    "a name that is a number": (changed("subject.0.name", 7), "a subject must be text: got 7"),
    "NUL in a name": (changed("subject.0.name", "a\0b"), "control characters"),
    "an end of line in a name": (changed("subject.0.name", "a\nb"), "control characters"),
    "half a surrogate in a name": (changed("subject.0.name", "\ud800"), "control characters"),
    "a part too long for a file": (changed("subject.0.name", "a" * 300), "at most"),
    "an empty name": (changed("subject.0.name", ""), "a subject must be a path below"),
    "a subject twice": (twice("subject", 0, digest={"sha256": S1}), "a subject must be there once"),
    "a resource twice": (twice(RESOURCES, 2, digest={"sha256": S5}), "a resource must be there once"),
    "a short digest": (changed("subject.0.digest.sha256", "5a"), "must be a digest"),
    "a digest in capitals": (changed("subject.0.digest.sha256", "5A" * 32), "must be a digest"),
    "a digest that is a list": (changed("subject.0.digest", [S5]), "digest must be an object: got list"),
    "an address outside of the cache": (changed(f"{RESOURCES}.1.digest.md5", "../../etc/passwd"), "md5 of data/raw"),
    "an md5 that is a list": (changed(f"{RESOURCES}.1.digest.md5", []), "md5 of data/raw must be a digest"),
    "a blob of two lines": (changed(f"{RESOURCES}.3.digest.gitBlob", f"{BLOB}\n{BLOB}"), "gitBlob of pipeline/x.py"),
    "a blob with half a surrogate": (changed(f"{RESOURCES}.3.digest.gitBlob", "\ud800"), "control characters"),
    "code that leads up": (changed(f"{RESOURCES}.3.name", "pipeline/../../x.py"), "must be a path below"),
    "a kind that is a number": (changed(f"{RESOURCES}.3.annotations.kind", 1), "kind must be text"),
    "stages that are text": (changed(f"{RESOURCES}.3.annotations.stages", "train"), "stages must be a list"),
    "an artifact that is a number": (changed(f"{RESOURCES}.2.annotations.artifact", 3), "artifact of .* must be text"),
    "a uri that is a list": (changed(f"{RESOURCES}.0.uri", []), "uri of .* must be text"),
    "a licence that is a number": (changed(f"{RESOURCES}.0.annotations.licence", 3), "licence of .* must be text"),
    "params that are a list": (changed(f"{DEFINITION}.externalParameters.params", []), "params, an object: got list"),
    "acquire that is a list": (changed(f"{DEFINITION}.externalParameters.params", {"acquire": []}), "params.acquire"),
    "a start that is a number": (changed(f"{DEFINITION}.externalParameters.params", {"train": {"warm_start": 1}}),
                                 "params.train.warm_start must be an object"),
    "not a number": (changed(f"{DEFINITION}.externalParameters.params", {"lr": float("nan")}), "must be "),
    "endless": (changed(f"{DEFINITION}.externalParameters.params", {"lr": float("inf")}), "must be "),
    "an environment that is a number": (changed(f"{DEFINITION}.internalParameters.stages.train.environment", 3),
                                        "environment of train must be an object: got 3"),
    "no environment": (changed(f"{DEFINITION}.internalParameters.stages.train", {}), "a part has no environment"),
    "threads that are text": (changed(f"{DEFINITION}.internalParameters.stages.train.environment", {"threads": "x"}),
                              "threads must be a count"),
    "stages that are a list": (changed(f"{DEFINITION}.internalParameters.stages", []), "stages must be an object"),
    "internal parameters that are text": (changed(f"{DEFINITION}.internalParameters", "x"), "must be an object"),
    "a run that is a list": (changed(f"{OWN}.run", [1]), "run must be an object"),
    "a key that is a filter": (changed(f"{OWN}.run.key", "k' or '1'='1"), "run.key must be a run's key"),
    "a start's key that is a filter": (changed(f"{OWN}.run.warm_start", {"run_key": "' or '"}), "run_key must be"),
    "git that is text": (changed(f"{OWN}.git", "HEAD"), "git must be an object"),
    "a commit that is an option": (changed(f"{OWN}.git.commit", "--all"), "git.commit must be a digest"),
    "a provenance that is text": (changed(f"{OWN}.provenance", "ab"), "a part has no sha256"),
    "a model's name that is a number": (changed(f"{OWN}.registered_model", 3), "registered_model must be text"),
    "an unsealing that is a number": (changed(f"{OWN}.unsealings", [3]), "unsealings must be an object: got 3"),
    "unsealings that are a number": (changed(f"{OWN}.unsealings", 3), "unsealings must be a list: got 3"),
    "an ancestor that is text": (changed(f"{OWN}.ancestry", ["x"]), "an ancestor must be an object"),
    "an ancestor's short digest": (changed(f"{OWN}.ancestry", [{"sha256": "x"}]), "must be a digest"),
    "an ancestor's statement that is a list": (changed(f"{OWN}.ancestry", [{"sha256": W0, "statement": [1]}]),
                                               "an ancestor's statement must be an object"),
    "no time": (changed(f"{METADATA}.finishedOn", None), "finishedOn must be text: got None"),
    "a time that is none": (changed(f"{METADATA}.finishedOn", "yesterday"), "finishedOn must be a time"),
    "a time of nowhere": (changed(f"{METADATA}.finishedOn", "2026-01-01T00:00:00"), "with its offset from UTC"),
    "an escape sequence": (changed(f"{OWN}.unsealings", [{"reason": "\x1b[2J"}]), "control characters"),
}


@pytest.mark.parametrize(("raw", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_statement_is_refused_in_one_line(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(IntegrityError, match=said) as error:
        parse(raw)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(IntegrityError, match=said):
        loads(json.dumps(raw).encode())


@pytest.mark.parametrize(("data", "said"), [
    (b"[" * 100_000 + b"]" * 100_000, "must be JSON: it is nested too deeply"),
    (b'{"a":' * 450 + b"1" + b"}" * 450, "nested at most 400 deep"),
    (b'{"a": NaN}', "NaN is no number of JSON"),
    (b'{"a": 1e999}', "a number must be finite"),
    (b'{"_type": 1, "_type": 2}', "key '_type' is there twice"),
    (b"3", "must be an object: got 3"),
])
def test_what_json_lets_pass_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(IntegrityError, match=said):
        loads(data)


def test_inputs_lie_where_params_say_and_nowhere_else() -> None:
    def with_input(name: str, inputs: str) -> dict[str, Any]:
        raw = twice(RESOURCES, 2, name=name, annotations={"kind": "input"})
        raw["predicate"]["buildDefinition"]["externalParameters"]["params"]["acquire"] = {"inputs": inputs}
        return raw

    for name, inputs in (("../mine", "../mine"), ("../mine/a.tif", "../mine/"), ("inputs:", "/data"),
                         ("inputs:/a.tif", "/data"), ("inputs/a.tif", "inputs")):
        assert parse(with_input(name, inputs)).of_kind("input")[0].name == name
    for name, inputs in (("../other", "../mine"), ("../mine/../../a.tif", "../mine"), ("inputs:/../a.tif", "/data"),
                         ("inputs://etc/passwd", "/data"), ("/etc/passwd", "/etc")):
        with pytest.raises(IntegrityError, match="must be a path below"):
            parse(with_input(name, inputs))


def test_one_asset_may_have_been_read_twice_and_one_file_be_two_sources() -> None:
    raw = twice(RESOURCES, 0)
    raw["predicate"]["buildDefinition"]["resolvedDependencies"] += [
        {"name": "item:B02", "uri": "https://h.test/B02.tif", "digest": {"sha256": digest},
         "annotations": {"kind": "asset"}} for digest in (S1, S2)]
    assert len(parse(raw).of_kind("source", "asset")) == 4


@pytest.mark.parametrize("content", [
    [], 3, {"data": []}, {"data": {"files": {"raw": []}}}, {"data": {"files": {"raw": {"../x": S1}}}},
    {"data": {"files": {"raw": {"x": 3}}}}, {"code": {"train": 3}}, {"params": 3}, {"params": {"train": 3}},
    {"lock": 3}, {"warm_start": {"0": 3}}, {"environment": 3}, {"evaluate": [1]},
    {"evaluate": {"../x": S1}}, {"data": {"catalog": {"scenes": [3]}}},
    {"data": {"catalog": {"labels": {"file": 3}}}}], ids=json.dumps)
def test_what_is_no_provenance_is_none(content: Any) -> None:
    assert provenance_of(json.dumps(content).encode()) is None
    assert provenance_of(b"{") is None


def test_provenance_is_read() -> None:
    content = {"data": {"files": {"raw": {"x": S1}}}, "params": {"seed": 1}, "lock": S2, "environment": {"cpu": "x"}}
    assert provenance_of(json.dumps(content).encode()) == content
