"""Files and folders that are closed to whoever asks: judged by what else is there, or said in one line."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import IntegrityError
from pipeline.lineage.evidence import Hashes
from pipeline.lineage.finder import Finder
from pipeline.lineage.identify import identify
from pipeline.lineage.objects import Objects
from pipeline.lineage.tree import build
from pipeline.lineage.verify import Verdict, verify
from pipeline.paths import Paths
from tests.unit.lineage.handmade import CARD, SCENE, WEIGHTS, Project

Close = Callable[[Path], None]


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch) -> Close:
    """Take the rights to a file or folder away, as `chmod 000` does for who is not root.

    The path itself is still seen; what lies in it is not, and neither can be opened.
    """
    closed: list[Path] = []
    stat, opened = Path.stat, Path.open

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def seen(self: Path, **words: Any) -> os.stat_result:
        if any(place in self.absolute().parents for place in closed):
            refuse(self)
        return stat(self, **words)

    def read(self: Path, *words: Any, **more: Any) -> Any:
        here = self.absolute()
        if any(place in (here, *here.parents) for place in closed):
            refuse(self)
        return opened(self, *words, **more)

    monkeypatch.setattr(Path, "stat", seen)
    monkeypatch.setattr(Path, "open", read)
    return lambda path: closed.append(Path(os.path.realpath(path)))


@pytest.mark.parametrize("name", [
    SCENE, "data/scenes/a", "data/raw", "data", "reports", "models/checkpoint", "models/export/maps", ".dvc/cache",
    "models/export/provenance.json", "dvc.lock", "params.yaml", "inputs"])
def test_what_is_closed_does_not_lose_the_verification(traced: Project, close: Close, name: str) -> None:
    close(traced.file(name))
    report = traced.verify()
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    assert not report.of(Verdict.MOVED_ON, Verdict.CONTRADICTED)
    assert report.files > 0
    assert build(traced.identified(), traced.paths).nodes


def test_a_file_that_is_closed_after_it_was_read_is_not_counted(traced: Project, close: Close) -> None:
    hashes = Hashes(progress=False)
    hashes.read([traced.file(SCENE), traced.file(CARD)])
    assert hashes.read_so_far[0] == 2
    close(traced.file("data"))
    assert hashes.read_so_far == (1, traced.file(CARD).stat().st_size)


def test_a_cache_that_is_closed_says_so(traced: Project, close: Close) -> None:
    traced.file(WEIGHTS).unlink()
    close(traced.file(".dvc/cache"))
    report = traced.verify()
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert report.first_broken.node == f"file:{WEIGHTS}"
    assert "cannot be read (PermissionError" in report.first_broken.message


def test_a_closed_workspace_is_no_obstacle_to_a_copy(traced: Project, close: Close, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_bytes(traced.file(CARD).read_bytes())
    close(traced.file("models"))
    found = identify(str(card), traced.paths)
    assert found.provenance_place.startswith("DVC")
    assert verify(found, traced.paths, progress=False).verdict is Verdict.VERIFIED


def test_a_closed_provenance_is_taken_from_elsewhere(traced: Project, close: Close) -> None:
    close(traced.file("models/export/provenance.json"))
    found = traced.identified()
    assert found.provenance_json is not None
    assert found.provenance_place.startswith("DVC")


@pytest.mark.parametrize(("target", "name"), [
    (WEIGHTS, WEIGHTS), ("models/checkpoint", WEIGHTS), ("models/checkpoint", "models/checkpoint"),
    ("models/export", "models/export"), (CARD, CARD), ("models/checkpoint", ".dvcignore")])
def test_a_closed_target_is_an_error_that_says_so(traced: Project, close: Close, target: str, name: str) -> None:
    traced.file(".dvcignore").write_text("*.log\n")
    close(traced.file(name))
    with pytest.raises(IntegrityError, match=r"must be readable.*Permission denied"):
        traced.identified(target)


def test_files_are_found_elsewhere_than_where_they_are_closed(traced: Project, close: Close, tmp_path: Path) -> None:
    statement = traced.identified().statement
    assert statement is not None
    weights = next(one for one in statement.resources if one.name == WEIGHTS)
    finder, cached = Finder(traced.paths, tmp_path / "found"), traced.cached(WEIGHTS)
    assert finder.resource(weights) == traced.file(WEIGHTS)
    close(traced.file(WEIGHTS))
    assert finder.resource(weights) == cached
    close(traced.file("models/checkpoint"))
    assert finder.resource(weights) == cached
    assert list(finder.objects.unread) == [traced.file(WEIGHTS)]
    close(cached)
    assert finder.resource(weights) is None
    assert "PermissionError" in finder.objects.unread[cached]


def test_what_cannot_be_read_is_noted_once_a_path(tmp_path: Path) -> None:
    objects = Objects(Paths(tmp_path))
    for _ in range(2):
        objects.pass_over(tmp_path / "a", PermissionError(errno.EACCES, "Permission denied"))
    assert objects.unread == {tmp_path / "a": f"{tmp_path}/a cannot be read (PermissionError: Permission denied)"}
