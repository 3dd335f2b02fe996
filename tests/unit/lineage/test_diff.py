"""What differs between two results, from their statements and from files found by digest."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.errors import IntegrityError
from pipeline.labels.ledger import COLUMNS
from pipeline.lineage.diff import compare
from pipeline.lineage.diff_labels import Booked, compare_ledgers
from pipeline.lineage.identify import Identified
from pipeline.paths import Paths
from pipeline.tracking.oids import artifact_digests
from pipeline.tracking.statement import Resource, Statement

ROWS = [
    ("s", "p1", "water", "kept", "as it came", 10_000.0, 10_000.0),
    ("s", "p2", "town", "carved", "NDWI", 40_000.0, 30_000.0),
    ("s", "p2", "town", "dropped", "small", 30_000.0, 0.0),
    ("s", "p3", "town", "kept", "as it came", 50_000.0, 50_000.0),
]
#: p2 is not carved and stays, p3 is gone, p4 is new.
OTHER = [
    ("s", "p1", "water", "kept", "as it came", 10_000.0, 10_000.0),
    ("s", "p2", "town", "kept", "as it came", 40_000.0, 40_000.0),
    ("s", "p4", "water", "added", "NDWI", 0.0, 5_000.0),
]
#: Ten pixels of each class in each of two blocks: 18 and 16 of 20 right; then one more right in each.
COUNTS = {1: [[9, 1], [1, 9]], 2: [[8, 2], [2, 8]]}
BETTER = {1: [[10, 0], [1, 9]], 2: [[9, 1], [2, 8]]}
PARAMS = {"seed": 42, "evaluate": {"bootstrap": {"resamples": 200, "confidence": 0.9}},
          "train": {"epochs": 3, "classes": ["a"]}}


def ledger(path: Path, rows: list[tuple[Any, ...]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(path, index=False)
    return path


def test_ledgers_by_class_and_action(tmp_path: Path) -> None:
    found = compare_ledgers(ledger(tmp_path / "a", ROWS), ledger(tmp_path / "b", OTHER))
    nothing = Booked(0, 0.0, 0.0)
    assert found.booked == {
        ("town", "carved"): (Booked(1, 40_000.0, 30_000.0), nothing),
        ("town", "dropped"): (Booked(1, 30_000.0, 0.0), nothing),
        ("town", "kept"): (Booked(1, 50_000.0, 50_000.0), Booked(1, 40_000.0, 40_000.0)),
        ("water", "added"): (nothing, Booked(1, 0.0, 5_000.0)),
    }
    assert found.areas_m2 == {"town": (50_000.0, 40_000.0), "water": (10_000.0, 15_000.0)}
    assert (found.changed, found.only_first, found.only_second, found.equal) == (1, 1, 1, 1)


class Side:
    """A result in a folder of its own, with all that a comparison reads."""

    def __init__(self, root: Path, rows: list[tuple[Any, ...]], counts: Mapping[int, list[list[int]]],
                 params: Mapping[str, Any]) -> None:
        self.root, self.params = root, params
        ledger(root / "data/labels/ledger.parquet", rows)
        for folder, name, content in (
            ("data/splits", "certificate.json", {"shared_places": []}),
            ("reports/evaluate", "metrics.json", {
                "classes": ["town", "water"], "headline": "reference", "out_of_fold": False,
                "members": [{"number": 0, "seed": 42, "fold": 0}],
                "objects": {"water": {"network": {"found_share": {"value": 0.5, "low": 0.2, "high": 0.8},
                                                  "precision": 0.4, "f1": None}}}}),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_text(json.dumps(content), encoding="utf-8")
        table = [("val", "reference", "network", 0, "s", block, i, j, matrix[i][j])
                 for block, matrix in counts.items() for i in range(2) for j in range(2) if matrix[i][j]]
        columns = ["part", "truth", "method", "member", "scene", "block", "true", "predicted", "count"]
        pd.DataFrame(table, columns=columns).to_parquet(root / "reports/evaluate/confusions.parquet", index=False)

    def identified(self, code: str = "1", environment: Mapping[str, Any] | None = None) -> Identified:
        resources = [Resource("pipeline/a.py", "code", "", git_blob=code), Resource("dvc.yaml", "pipeline", "y"),
                     Resource("data/raw/x.tif", "source", "s1", uri="inputs/x.tif")]
        for name in ("data/labels", "data/splits", "reports/evaluate"):
            found = artifact_digests(self.root / name, self.root)
            resources.append(Resource(name, "artifact", found.sha256, found.oid))
            resources += [Resource(f"{name}/{file}", "file", digests.sha256, digests.md5, artifact=name)
                          for file, digests in found.files.items()]
        stages = {stage: environment or {"cpu": "old", "libraries": {"torch": "1"}} for stage in ("train", "export")}
        statement = Statement("export", "", {}, tuple(resources), self.params, stages, "", {}, None, False, "", (), (),
                              "", {})
        return Identified(f"{self.root.name}.onnx", "onnx", None, "", "", "", statement, "", None, "")


def cached(side: Side, into: Path) -> None:
    """Put a side's files into a DVC cache, which is where another build's files are."""
    (into / ".dvc/cache/files/md5").mkdir(parents=True, exist_ok=True)
    for file in side.root.rglob("*"):
        if file.is_file():
            md5 = artifact_digests(file, side.root).oid
            target = into / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())


@pytest.fixture
def old(tmp_path: Path) -> Side:
    return Side(tmp_path / "old", ROWS, COUNTS, PARAMS)


def other(tmp_path: Path, into: Path, counts: Mapping[int, list[list[int]]] = BETTER,
          rows: list[tuple[Any, ...]] = OTHER) -> Side:
    changed = {**PARAMS, "train": {"epochs": 5, "classes": ["a", "b"], "extra": True}}
    made = Side(tmp_path / "new", rows, counts, changed)
    cached(made, into)
    return made


def test_everything_that_differs_is_there(old: Side, tmp_path: Path) -> None:
    new = other(tmp_path, old.root)
    found = compare(old.identified(), new.identified("2", {"cpu": "new", "libraries": {"torch": "1"}}), Paths(old.root))
    assert {name: (changes.changed, changes.equal) for name, changes in found.data.items()} == {
        "sources": ((), 1), "data/labels": (("data/labels/ledger.parquet",), 0), "data/splits": ((), 1),
        "reports/evaluate": (("reports/evaluate/confusions.parquet",), 1)}
    assert found.code["code"].changed == ("pipeline/a.py",)
    assert not found.code["dvc.yaml"]
    assert found.params == {"train.epochs": (3, 5), "train.classes": (["a"], ["a", "b"]), "train.extra": (None, True)}
    assert found.environment == {"cpu": ("old", "new", ("train", "export"))}
    assert found.labels is not None
    assert (found.labels.only_first, found.labels.only_second) == (1, 1)
    assert not found.missing
    assert not found.is_empty


def test_scores_are_paired_on_the_same_ground(old: Side, tmp_path: Path) -> None:
    scores = compare(old.identified(), other(tmp_path, old.root).identified(), Paths(old.root)).scores
    assert scores is not None
    assert (scores.unpaired, scores.blocks, scores.confidence) == ("", 2, 0.9)
    town = scores.scores["iou.town"]
    assert town.first.value == pytest.approx(17 / 23)  # 9 + 8 hits of 20 + 20 - 17
    assert town.second.value == pytest.approx(19 / 23)  # 10 + 9 hits; 1 + 0 and 2 + 1 wrong
    assert town.difference is not None
    assert town.difference.value == pytest.approx(2 / 23)
    assert town.difference.low > 0
    share = scores.scores["objects.water.found_share"]
    assert (share.first.value, share.difference.value if share.difference else None) == (0.5, 0.0)


def test_scores_on_other_ground_are_not_paired(old: Side, tmp_path: Path) -> None:
    new = other(tmp_path, old.root, {1: [[9, 1], [1, 9]], 3: [[8, 2], [2, 8]]})
    found = compare(old.identified(), new.identified(), Paths(old.root))
    assert found.scores is not None
    assert found.scores.unpaired == ("it is scored on other blocks (2, 1 of them among A's 2): the split differs")
    assert {pair.difference for pair in found.scores.scores.values()} == {None}
    assert "not paired: B against A: it is scored on other blocks" in found.text()


def test_a_result_does_not_differ_from_itself(old: Side) -> None:
    found = compare(old.identified(), old.identified(), Paths(old.root))
    assert found.is_empty
    assert found.labels is None
    assert found.scores is not None
    assert {pair.difference.value for pair in found.scores.scores.values() if pair.difference} == {0.0}
    assert "params   equal" in found.text()


def test_what_cannot_be_found_is_named(old: Side, tmp_path: Path) -> None:
    new = Side(tmp_path / "new", OTHER, BETTER, PARAMS)  # in no cache
    found = compare(old.identified(), new.identified(), Paths(old.root))
    assert (found.labels, found.scores) == (None, None)
    assert [line.partition(":")[0] for line in found.missing] == ["how labels differ", "how scores differ"]
    assert "B's data/labels/ledger.parquet" in found.missing[0]


def test_without_a_statement_there_is_nothing_to_compare(old: Side) -> None:
    bare = Identified("x.tif", "geotiff", None, "", "", "", None, "", None, "")
    with pytest.raises(IntegrityError, match=r"x\.tif must have a statement"):
        compare(old.identified(), bare, Paths(old.root))


def test_the_text_and_the_json(old: Side, tmp_path: Path) -> None:
    found = compare(old.identified(), other(tmp_path, old.root).identified("2"), Paths(old.root))
    lines = found.text().splitlines()
    assert lines[:4] == ["A  old.onnx", "B  new.onnx", "", "data"]
    for line in ("  sources   equal (1)", "    ~ data/labels/ledger.parquet", "    ~ pipeline/a.py",
                 "  train.epochs: 3 -> 5", "  train.extra: absent -> true",
                 "  labels: 1 geometries changed, 1 only in A, 1 only in B, 1 equal",
                 "    town   carved   1 -> 0  -1.00 -> 0.00", "    town   5.00 -> 4.00",
                 "scores   paired over 2 blocks of val, intervals of 90%", "environment   equal"):
        assert line in lines, line
    town = next(line for line in lines if line.lstrip().startswith("iou.town"))
    assert town.split()[1:4] == ["0.739", "0.826", "+0.087"]
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["params"]["train.epochs"] == {"first": 3, "second": 5}
    assert plain["labels"]["geometries"] == {"only_first": 1, "only_second": 1, "changed": 1, "equal": 1}
    assert plain["scores"]["scores"]["iou.town"]["difference"]["value"] == pytest.approx(2 / 23)
