"""The layout is anchored where it should be, and nothing half-written ever carries a final name."""

import shutil
from pathlib import Path

import pytest

from pipeline.paths import Paths, staged_file, staged_folder


def test_layout_is_relative_to_its_root(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert paths.catalog == tmp_path / "data/raw/catalog.json"
    assert paths.report("train") == tmp_path / "reports/train"


def test_dvc_root_anchors_state_but_no_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, real = tmp_path / "copy", tmp_path / "real"
    assert Paths(copy).resume == copy.resolve() / ".checkpoints"
    monkeypatch.setenv("DVC_ROOT", str(real))
    assert Paths(copy).resume == real.resolve() / ".checkpoints"
    assert Paths(copy).journal == real.resolve() / ".kumulus/journal"
    assert Paths(copy).downloads == real.resolve() / ".kumulus/downloads"
    assert Paths(copy).raw == copy / "data/raw"


def test_folder_takes_its_place_only_when_finished(tmp_path: Path) -> None:
    final = tmp_path / "deep/out"
    with staged_folder(final) as folder:
        (folder / "a").write_text("1")
        assert not final.exists()
    with staged_folder(final) as folder:
        assert list(folder.iterdir()) == []
        (folder / "b").write_text("2")
    assert [p.name for p in final.iterdir()] == ["b"]


def test_failure_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    final = tmp_path / "out"
    with staged_folder(final) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(RuntimeError, match="boom"), staged_folder(final) as folder:
        (folder / "b").write_text("2")
        raise RuntimeError("boom")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert [p.name for p in final.iterdir()] == ["a"]


def test_leftover_of_a_kill_is_swept_away(tmp_path: Path) -> None:
    for name in (".out.partial", ".out.old.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    with staged_folder(tmp_path / "out") as folder:
        assert list(folder.iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_old_folder_is_never_seen_half_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final, removed = tmp_path / "out", []
    remove = shutil.rmtree

    def watched(folder: Path) -> None:
        removed.append(folder.name)
        assert (final / "new").exists(), "the new folder has its place before the old one goes"
        remove(folder)

    (final / "deep").mkdir(parents=True)
    monkeypatch.setattr(shutil, "rmtree", watched)
    with staged_folder(final) as folder:
        (folder / "new").touch()
    assert removed == [".out.old.partial"]


def test_file_keeps_its_suffix_while_written_and_vanishes_on_failure(tmp_path: Path) -> None:
    final = tmp_path / "deep/map.tif"
    with staged_file(final) as partial:
        assert partial.suffix == ".tif"
        partial.write_text("new")
    with pytest.raises(RuntimeError, match="boom"), staged_file(final) as partial:
        partial.write_text("half")
        raise RuntimeError("boom")
    assert [p.name for p in final.parent.iterdir()] == ["map.tif"]
    assert final.read_text() == "new"
