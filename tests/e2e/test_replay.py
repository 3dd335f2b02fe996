"""A result made again from its commit, while the workspace has moved on; and two results compared."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.lineage.agreement import agree
from pipeline.lineage.diff import compare
from pipeline.lineage.finder import Finder
from pipeline.lineage.identify import Identified, identify
from pipeline.lineage.replay import ReplayReport, judge, replay
from pipeline.paths import Paths
from tests.e2e.conftest import Repository, state

MAP = "models/export/maps/synthetic_class.tif"


@pytest.fixture(scope="module")
def moved_on(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A clone of the repository with its exports, on a detached later commit, with other params and code."""
    root = tmp_path_factory.mktemp("clone") / "project"
    repository.call("git", "clone", "--quiet", str(repository.root), str(root))
    clone = Repository(root, repository.environment)
    (root / ".dvc/config.local").write_text(f"[cache]\n    dir = {repository.root / '.dvc/cache'}\n", encoding="utf-8")
    clone.call("dvc", "checkout")
    clone.call("git", "checkout", "--quiet", "--detach")
    clone.set_params({"train.epochs": 4})
    (root / "README.md").write_text("later\n", encoding="utf-8")
    clone.commit()
    with (root / "pipeline/losses/dice.py").open("a", encoding="utf-8") as file:
        file.write("\n# being edited\n")
    return Paths(root)


@pytest.fixture(scope="module")
def replayed(moved_on: Paths, tmp_path_factory: pytest.TempPathFactory) -> tuple[Identified, ReplayReport]:
    """The map's replay, kept; the caller's own DVC and MLflow lead nowhere."""
    before = state(moved_on.root)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"DVC_CACHE_DIR": "/nowhere", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
                            "GIT_AUTHOR_NAME": "x"}.items():
            patch.setenv(name, value)
        patch.setattr("sys.stderr.isatty", lambda: False)  # a terminal is shown a bar, and fewer lines
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("scratch")))
        found = identify(str(moved_on.root / MAP), moved_on)
        said: list[str] = []
        report = replay(found, moved_on, said.append, keep=True)
    assert state(moved_on.root) == before
    assert [line for line in said if " of 7, " in line][-1].startswith("replay: 7 of 7, export (")
    return found, report


def test_weights_maps_and_all_else_are_byte_identical(replayed: tuple[Identified, ReplayReport]) -> None:
    _, report = replayed
    assert (report.verdict, report.exit_code) == ("verified", 0), report.text()
    assert report.environment == ()
    assert all(one.equal for one in report.compared if one.kind != "report"), report.text()
    names = {one.name for one in report.compared}
    assert {MAP, "models/export/model.onnx", "data/raw", "models/checkpoint/members/0/weights.safetensors"} <= names
    assert report.commit_place != ""


def test_a_statement_that_says_something_else_is_contradicted(moved_on: Paths, tmp_path: Path,
                                                              replayed: tuple[Identified, ReplayReport]) -> None:
    found, report = replayed
    assert found.statement is not None
    false = replace(found.statement, subjects={**found.statement.subjects, "maps/synthetic_class.tif": "0" * 64})
    compared = agree(false, Paths(Path(report.kept) / "repository"), Finder(moved_on, tmp_path))
    verdict, message = judge(compared, [])
    assert verdict == "contradicted"
    assert message.endswith(f"files differ, first {MAP}")


def test_what_was_never_committed_cannot_be_replayed(moved_on: Paths,
                                                     replayed: tuple[Identified, ReplayReport]) -> None:
    found, _ = replayed
    assert found.statement is not None
    resources = tuple(replace(r, git_blob="1" * 40) if r.name == "pipeline/losses/dice.py" else r
                      for r in found.statement.resources)
    report = replay(replace(found, statement=replace(found.statement, resources=resources)), moved_on, print)
    assert (report.verdict, report.exit_code, report.compared) == ("unverifiable", 3, ())
    assert report.message.startswith("pipeline/losses/dice.py was never committed as this result was made with it")


def test_a_changed_copy_that_kept_its_tag_is_not_made_again(moved_on: Paths, tmp_path: Path) -> None:
    copy, said = tmp_path / "copy.tif", list[str]()
    data = bytearray((moved_on.root / MAP).read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    report = replay(identify(str(copy), moved_on), moved_on, said.append)
    assert (report.verdict, report.exit_code, said) == ("contradicted", 4, [])


def test_a_result_and_its_replay_do_not_differ(moved_on: Paths, replayed: tuple[Identified, ReplayReport]) -> None:
    found, report = replayed
    again = identify(str(Path(report.kept) / "repository" / MAP), Paths(Path(report.kept) / "repository"))
    difference = compare(found, again, moved_on)
    assert difference.is_empty
    assert difference.scores is not None
    assert difference.scores.unpaired == ""
    assert {pair.difference.value for pair in difference.scores.scores.values() if pair.difference} == {0.0}
