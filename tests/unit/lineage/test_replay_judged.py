"""What a replay must not call equal: weights that are no numbers, and comparisons of nothing."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.lineage.agreement import Compared, agree, weights_apart
from pipeline.lineage.finder import Finder
from pipeline.lineage.replay import ReplayReport, judge, replay
from pipeline.paths import Paths
from pipeline.reporting.trace_page import trace_page
from pipeline.tracking.statement import Resource, Statement
from tests.unit.lineage.files import flip, sha256
from tests.unit.lineage.handmade import CARD, WEIGHTS, Project

MEMBER = "models/checkpoint/members/0/weights.safetensors"
ZEROS, ONES = [0.0, 0.0], [1.0, 1.0]


def weights(path: Path, *tensors: list[float]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"t{i}": torch.tensor(values) for i, values in enumerate(tensors)}, path)
    return path


@pytest.mark.parametrize(("old", "new", "absolute", "relative"), [
    (ONES, [1.0, math.nan], math.inf, math.inf),
    ([1.0, math.nan], ONES, math.inf, math.inf),
    (ONES, [1.0, math.inf], math.inf, math.inf),
    (ZEROS, [0.0, 2.0], 2.0, math.inf),
    (ZEROS, ZEROS, 0.0, 0.0),
    ([], [], 0.0, 0.0),
])
def test_weights_that_cannot_be_near(tmp_path: Path, old: list[float], new: list[float], absolute: float,
                                     relative: float) -> None:
    apart = weights_apart(weights(tmp_path / "old", ONES, old), weights(tmp_path / "new", ONES, new))
    assert apart == {"largest_absolute": absolute, "largest_relative": relative}


def compared(tmp_path: Path, old: list[float], new: list[float]) -> list[Compared]:
    here, there = Paths(tmp_path / "here"), Paths(tmp_path / "there")
    recorded = sha256(weights(here.root / MEMBER, ONES, old))
    weights(there.root / MEMBER, ONES, new)
    return agree(stating(Resource("models/checkpoint", "artifact", "", stages=("train",)),
                         Resource(MEMBER, "file", recorded, artifact="models/checkpoint")), there,
                 Finder(here, tmp_path / "scratch"))


def stating(*resources: Resource) -> Statement:
    return Statement("export", "", {}, resources, {}, {}, "", {}, None, False, "", (), (), "", {})


@pytest.mark.parametrize(("old", "new", "said"), [
    (ONES, [1.0, math.nan], "largest absolute infinite, largest relative infinite"),
    (ZEROS, [0.0, 2.0], "largest absolute 2, largest relative infinite"),
])
def test_infinitely_far_weights_are_outside_of_the_tolerance_and_told(
    tmp_path: Path, old: list[float], new: list[float], said: str
) -> None:
    (found,) = compared(tmp_path, old, new)
    assert found.within is False
    assert found.shown == f"{MEMBER}: differs; {said}; outside tolerance"
    verdict, message = judge([found], ["another machine"])
    assert verdict == "unverifiable"
    plain = json.loads(json.dumps(ReplayReport(verdict, message, compared=(found,)).to_json(), allow_nan=False))
    assert plain["compared"][0]["measured"]["largest_relative"] is None
    page = trace_page({"root": "a", "nodes": [{"id": "a", "kind": "file", "label": "a", "facts": {}}], "edges": [],
                       "missing": [], "replay": plain})
    assert f"{MEMBER} differs {said.replace(',', '')}" in page


def test_where_no_weights_and_no_map_were_compared_an_excuse_verifies_nothing() -> None:
    files = [Compared("models/export/model_card.md", "file", True), Compared("data/raw", "data", False)]
    verdict, message = judge(files, ["another machine"])
    assert verdict == "unverifiable"
    assert message == "no weights and no class map were compared, other files differ, and another machine"


@pytest.mark.parametrize(("kinds", "said"), [
    (["file"], ""), (["weights"], ", weights among them"), (["map", "weights"], ", weights and maps among them")])
def test_only_what_was_compared_is_said_to_be_equal(kinds: list[str], said: str) -> None:
    files = [Compared(kind, kind, True) for kind in kinds]  # type: ignore[arg-type]
    assert judge(files, []) == ("verified", f"{len(files)} artifacts and files are byte-identical{said}")


@pytest.mark.parametrize("content", ["folder", "file"])
def test_an_artifact_without_an_id_that_the_replay_did_not_make_is_not_equal(tmp_path: Path, content: str) -> None:
    there = Paths(tmp_path / "there")
    there.root.mkdir()
    finder = Finder(Paths(tmp_path), tmp_path / "scratch")
    artifact = Resource("data/labels", "artifact", "", stages=("refine_labels",))
    (found,) = agree(stating(artifact), there, finder)
    assert (found.equal, found.note) == (False, "the replay made none")
    if content == "folder":
        there.labels.mkdir(parents=True)
    else:
        there.labels.parent.mkdir()
        there.labels.write_text("other bytes")
    (found,) = agree(stating(artifact), there, finder)
    assert not found.equal


def test_weights_of_a_training_that_was_not_exported_contradict_nothing(traced: Project) -> None:
    flip(traced.file(WEIGHTS))
    traced.lock()  # train has run again, and export has not
    for target in (WEIGHTS, "models/checkpoint"):
        report = replay(traced.identified(target), traced.paths, print)
        assert report.verdict == "unverifiable"
        assert "must be bytes that a statement names" in report.message
    card = traced.file(CARD)
    card.write_text(card.read_text(encoding="utf-8") + "x", encoding="utf-8")
    assert replay(traced.identified(), traced.paths, print).verdict == "contradicted"
