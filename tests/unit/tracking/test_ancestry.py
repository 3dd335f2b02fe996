"""The statement of the model that a training starts from goes into the record of what it makes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.networks.spec import Ancestor
from pipeline.paths import Paths
from pipeline.tracking.ancestry import find_statement, with_statements
from pipeline.tracking.statement import parse

OWN, OLDER = "5a" * 32, "4a" * 32


@dataclass(frozen=True)
class Start:
    """As training has it."""

    folder: Path
    ancestry: tuple[Ancestor, ...]
    run_key: str = "k0"

    @property
    def sha256(self) -> str:
        return self.ancestry[0].sha256


def statement_of(*weights: str, ancestry: Any = ()) -> dict[str, Any]:
    """An export that was made of these weights."""
    return {
        "_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {"buildType": "urn:kumulus:export:1", "externalParameters": {"params": {}},
                                "resolvedDependencies": [{"name": f"models/checkpoint/members/{i}/weights.safetensors",
                                                          "digest": {"sha256": digest}, "annotations": {"kind": "file"}}
                                                         for i, digest in enumerate(weights)]},
            "runDetails": {"metadata": {"finishedOn": "2026-01-01T00:00:00+00:00",
                                        "kumulus": {"ancestry": list(ancestry)}}}}}


@pytest.fixture
def member(tmp_path: Path) -> Path:
    folder = tmp_path / "old/checkpoint/members/0"
    folder.mkdir(parents=True)
    return folder


def put(file: Path, raw: Any) -> dict[str, Any]:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(raw))
    return dict(raw)


@pytest.mark.parametrize("place", [
    "old/checkpoint/members/0/lineage.json", "old/checkpoint/lineage.json", "old/export/lineage.json",
    "models/export/lineage.json"])
def test_found_beside_the_weights_or_in_this_repositorys_export(tmp_path: Path, member: Path, place: str) -> None:
    raw = put(tmp_path / place, statement_of("aa" * 32, OWN))
    assert find_statement(OWN, member, Paths(tmp_path)) == parse(raw)
    assert find_statement(OLDER, member, Paths(tmp_path)) is None


def test_files_of_that_name_that_are_none_are_passed_over(tmp_path: Path, member: Path) -> None:
    put(member / "lineage.json", {"format": "kumulus-lineage-1"})
    put(member.parent / "lineage.json", statement_of(OLDER))
    assert find_statement(OWN, member, Paths(tmp_path)) is None
    raw = put(tmp_path / "old/export/lineage.json", statement_of(OWN))
    assert find_statement(OWN, member, Paths(tmp_path)) == parse(raw)


def record(**start: Any) -> dict[str, Any]:
    return {"key": "k1", "environment": {}, **({"warm_start": start} if start else {})}


def test_without_a_start_nothing_is_added(tmp_path: Path) -> None:
    assert with_statements(record(), [], Paths(tmp_path)) == record()


def test_the_whole_statement_of_the_start_stands_in_the_record(tmp_path: Path, member: Path) -> None:
    raw = put(tmp_path / "old/export/lineage.json", statement_of(OWN))
    starts: Any = [Start(member, (Ancestor(sha256=OWN),))] * 2  # two members of one start
    told = with_statements(record(uri="old", sha256=OWN), starts, Paths(tmp_path))
    assert told == record(uri="old", sha256=OWN, ancestry=[
        {"sha256": OWN, "uri": "old", "run_key": "k0", "statement": raw}])


def test_where_there_is_none_the_weights_are_named(tmp_path: Path, member: Path) -> None:
    starts: Any = [Start(member, (Ancestor(sha256=OWN), Ancestor(sha256=OLDER)))]
    told = with_statements(record(uri="old"), starts, Paths(tmp_path))
    assert told["warm_start"]["ancestry"] == [
        {"sha256": OWN, "uri": "old", "run_key": "k0", "statement": None},
        {"sha256": OLDER, "uri": "", "run_key": "", "statement": None}]


def test_what_a_statement_tells_of_earlier_starts_is_not_told_twice(tmp_path: Path, member: Path) -> None:
    put(tmp_path / "old/export/lineage.json", statement_of(OWN, ancestry=[{"sha256": OLDER, "statement": None}]))
    starts: Any = [Start(member, (Ancestor(sha256=OWN), Ancestor(sha256=OLDER)))]
    told = with_statements(record(uri="old"), starts, Paths(tmp_path))
    assert [entry["sha256"] for entry in told["warm_start"]["ancestry"]] == [OWN]
