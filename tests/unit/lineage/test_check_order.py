"""What cannot be done as asked is told before bytes are hashed or stages run."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cli_lineage import repository
from pipeline.errors import ParamsError

CARD = "models/export/model_card.md"


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was begun of the checks that take long; they end there."""
    begun: list[str] = []

    def begin(name: str) -> Any:
        def run(*_: Any) -> Any:
            begun.append(name)
            raise ParamsError(f"{name} was begun")

        return run

    monkeypatch.setattr("pipeline.lineage.verify.verify", begin("verify"))
    monkeypatch.setattr("pipeline.lineage.replay.replay", begin("replay"))
    return begun


def refused(root: Path, *words: str) -> str:
    result = CliRunner().invoke(app, ["trace", str(root / CARD), "--repository", str(root), *words])
    assert result.exit_code == 1, result.output
    return result.stderr


def test_a_key_that_cannot_be_read(root: Path, costly: list[str]) -> None:
    said = refused(root, "--verify", "--replay", "--public-key", str(root / "none.pub"))
    assert "must be a public key in PEM" in said
    assert not costly


def test_a_signature_that_cannot_be_read(root: Path, costly: list[str]) -> None:
    made = CliRunner().invoke(app, ["sign", str(root / "models/export"), "--key", str(root / "k.pem"), "--new-key",
                                    "--out", str(root / "own.sig")])
    assert made.exit_code == 0, made.output
    said = refused(root, "--verify", "--public-key", str(root / "k.pub"), "--signature", str(root))
    assert "the signature must be a file that can be read" in said
    assert not costly
    assert "verify was begun" in refused(root, "--verify", "--public-key", str(root / "k.pub"), "--signature",
                                         str(root / "own.sig"))
    assert costly == ["verify"]


@pytest.mark.parametrize(("page", "why"), [
    ("models", "it is a folder"), ("params.txt/page.html", "params.txt is no folder"),
    ("params.txt/new/page.html", "params.txt is no folder"), ("shut/page.html", "this user cannot write into"),
    ("/", "it is a folder"), (f"{'x' * 300}.html", "File name too long")])
def test_a_page_that_cannot_be_written(
    root: Path, costly: list[str], page: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "params.txt").write_text("x", encoding="utf-8")
    (root / "shut").mkdir()
    monkeypatch.setattr("os.access", lambda path, _: Path(path).name != "shut")  # root may write anywhere
    said = refused(root, "--verify", "--replay", "--html", str(root / page))
    assert "--html must be a file that can be written" in said
    assert why in said
    assert not costly


def test_a_page_in_a_new_folder_is_written(root: Path) -> None:
    result = CliRunner().invoke(app, ["trace", str(root / CARD), "--repository", str(root), "--html",
                                      str(root / "new/folder/page.html")])
    assert result.exit_code == 0, result.output
    assert (root / "new/folder/page.html").is_file()


def test_keep_without_replay_would_keep_nothing(root: Path, costly: list[str]) -> None:
    assert "--keep must come with --replay" in refused(root, "--verify", "--keep")
    assert not costly
    assert "replay was begun" in refused(root, "--replay", "--keep")


def test_a_file_is_no_repository(root: Path) -> None:
    with pytest.raises(ParamsError, match="--repository must be a folder: got"):
        repository(CARD, root / CARD)
    with pytest.raises(ParamsError, match="--repository must be a folder: got"):
        repository(CARD, root / ("x" * 300))


def test_a_page_replaces_nothing_but_a_page(root: Path, costly: list[str]) -> None:
    card, other, page = root / CARD, root / "params.yaml", root / "page.html"
    other.write_text("seed: 1\n")
    before = card.read_bytes()
    for file in (card, other):
        said = refused(root, "--verify", "--html", str(file))
        assert "something else than a page of `kumulus trace` lies there" in said
    assert "an export must hold what" in refused(root, "--verify", "--html", str(card.parent / "page.html"))
    assert (card.read_bytes(), other.read_text()) == (before, "seed: 1\n")
    assert not costly
    for _ in range(2):
        result = CliRunner().invoke(app, ["trace", str(card), "--repository", str(root), "--html", str(page)])
        assert result.exit_code == 0, result.output
    assert page.read_text().startswith("<!DOCTYPE html>")
