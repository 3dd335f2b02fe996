"""Damaged statements as targets, a git that refuses, and places that no file can have: judged or said in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.lineage.git_store import GitStore
from pipeline.lineage.verify import Verdict
from pipeline.tracking.oids import git_blob
from tests.unit.lineage.handmade import CARD, CODE, Project

LINEAGE = "models/export/lineage.json"


@pytest.fixture
def kumulus(traced: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """A function that runs a command in the project: its exit status and what it printed."""
    monkeypatch.chdir(traced.root)

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, words)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    return run


@pytest.mark.parametrize("target", ["models/export", LINEAGE])
@pytest.mark.parametrize(("old", "new"), [('"_type"', '"_tyqe"'), ('"subject"', '"subjest"'), ("{", "[")])
def test_a_damaged_statement_as_the_target_is_contradicted(
    traced: Project, kumulus: Callable[..., tuple[int, str]], target: str, old: str, new: str
) -> None:
    file = traced.file(LINEAGE)
    file.write_text(file.read_text().replace(old, new, 1))
    report = traced.verify(target)
    assert report.verdict is Verdict.CONTRADICTED
    assert [link.node for link in report.of(Verdict.CONTRADICTED)] == ["statement"]
    status, text = kumulus("trace", target, "--verify")
    assert status == 4, text
    assert "first broken link: lineage.json" in text


@pytest.mark.parametrize("changes", [
    {"subject": [[]]}, {"subject": {}}, {"subject": [{"name": "a\0", "digest": {"sha256": "0" * 64}}]},
    {"predicate": {"buildDefinition": [], "runDetails": 3}}], ids=["list", "object", "NUL", "parts"])
def test_a_hostile_statement_is_no_traceback(
    traced: Project, kumulus: Callable[..., tuple[int, str]], changes: dict[str, object]
) -> None:
    file = traced.file(LINEAGE)
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    for target in (LINEAGE, CARD):
        assert kumulus("trace", target)[0] == 0
        assert kumulus("trace", target, "--verify")[0] == 4


@pytest.mark.parametrize("data", ["[]", "3", "[" * 100_000, '{"data": 3}',
                                  '{"evaluate": [1]}', '{"code": {"train": []}}'])
def test_hostile_provenance_is_no_traceback(
    traced: Project, kumulus: Callable[..., tuple[int, str]], data: str
) -> None:
    traced.file("models/export/provenance.json").write_text(data)
    for target in (CARD, LINEAGE, "models/export/provenance.json"):
        assert kumulus("trace", target)[0] == 0
        assert kumulus("trace", target, "--verify")[0] == 4


@pytest.mark.parametrize("words", [
    ("trace", "x" * 300), ("trace", "models/export/" + "x" * 300 + ".tif", "--verify"), ("diff", "x" * 300, CARD),
    ("trace", CARD, "--html", "README.md/page.html"), ("trace", CARD, "--html", "x" * 300),
    ("trace", CARD, "--repository", "x" * 300), ("sign", "x" * 300, "--key", "x" * 300),
    ("sign", "--new-key", "--key", "own.pub")], ids=lambda words: " ".join(words)[:40])
def test_impossible_places_are_said_in_one_line(
    traced: Project, kumulus: Callable[..., tuple[int, str]], words: tuple[str, ...]
) -> None:
    traced.file("README.md").write_text("")
    status, text = kumulus(*words)
    assert status == 1, text
    assert len([line for line in text.splitlines() if line.startswith("kumulus: ")]) == 1
    assert not traced.file("own.pub").exists()


def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user is not the owner of the files."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")


def test_a_git_that_refuses_says_why(traced: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert GitStore(traced.root).trouble == ""
    assert GitStore(tmp_path).trouble == "", "no repository is no trouble"
    refusing(monkeypatch)
    store = GitStore(traced.root / "pipeline")
    assert "dubious ownership" in store.trouble
    assert store.prefix is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert "git" in GitStore(traced.root).trouble


@pytest.mark.parametrize(("name", "old", "new", "node"), [
    (CODE, "Code", "New code", f"code:{CODE}"), ("params.yaml", "lr: 1e-3", "lr: 2e-3", "params"),
], ids=["code", "params"])
def test_a_committed_edit_is_no_contradiction_where_git_refuses(
    traced: Project, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str, node: str
) -> None:
    path = traced.file(name)
    path.write_text(path.read_text().replace(old, new))
    traced.commit()
    assert traced.verify().verdict is Verdict.VERIFIED
    refusing(monkeypatch)
    report = traced.verify()
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert report.first_broken.node == node
    assert any("dubious ownership" in link.message for link in report.links)


def test_a_name_of_two_lines_does_not_shift_what_git_answers(traced: Project) -> None:
    wanted = git_blob(traced.file(CODE).read_bytes())
    assert GitStore(traced.root).blobs([f"{wanted}\n{wanted}", f"{wanted}\0", "\udcff", wanted]) == {
        wanted: traced.file(CODE).read_bytes()}
