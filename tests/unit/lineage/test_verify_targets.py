"""What verification and replay say of targets that no statement names, and of files on record that nothing holds."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.lineage import hashing
from pipeline.lineage.evidence import Hashes
from pipeline.lineage.identify import identify
from pipeline.lineage.replay import replay
from pipeline.lineage.verify import Verdict, verify
from pipeline.paths import Paths
from tests.unit.lineage.handmade import CARD, SCENE, WEIGHTS, Project

LINEAGE = "models/export/lineage.json"


def change(path: Path) -> None:
    """Another last bit."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("target", [WEIGHTS, "models/checkpoint", "models/checkpoint/members/0"])
def test_a_training_that_was_not_exported_is_not_verified(traced: Project, target: str) -> None:
    assert traced.verify(target).verdict is Verdict.VERIFIED
    change(traced.file(WEIGHTS))
    traced.lock()  # as `dvc repro train` does: models/export is that of the weights before
    identified = traced.identified(target)
    report = verify(identified, traced.paths, progress=False)
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert report.first_broken.node == "subject"
    assert report.first_broken.found == identified.sha256 != report.first_broken.expected != ""
    assert f"none at hand names sha256 {identified.sha256}; export" in report.first_broken.message
    assert replay(identified, traced.paths, lambda _: None).verdict == "unverifiable"
    assert traced.verify().verdict is Verdict.VERIFIED, "the export itself holds"


def test_weights_that_were_changed_behind_dvc_are_contradicted(traced: Project) -> None:
    change(traced.file(WEIGHTS))
    report = traced.verify(WEIGHTS)
    assert report.first_broken is not None
    assert (report.first_broken.node, report.verdict) == (f"file:{WEIGHTS}", Verdict.CONTRADICTED)


def test_what_dvc_ignores_is_no_part_of_a_checkpoint(traced: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    traced.file(".dvcignore").write_text("*.log\n/models/checkpoint/notes.txt\n")
    for name in ("members/0/a.log", "notes.txt"):
        (traced.paths.checkpoint / name).write_text("x")
    monkeypatch.chdir(traced.file("data"))
    for target, paths in ((str(traced.paths.checkpoint), traced.paths), ("../models/checkpoint", Paths(Path("..")))):
        found = identify(target, paths)
        assert (found.resource, found.notes) == ("models/checkpoint", ())
        assert verify(found, paths, progress=False).verdict is Verdict.VERIFIED


@pytest.mark.parametrize("artifact", ["data/nowhere", "", "models/run.json", "inputs"])
def test_a_file_of_no_folder_on_record_is_named(traced: Project, artifact: str) -> None:
    path = traced.file(LINEAGE)
    raw = json.loads(path.read_text())
    raw["predicate"]["buildDefinition"]["resolvedDependencies"].append({
        "name": "data/raw/ghost.tif", "digest": {"sha256": "0" * 64, "md5": "0" * 32},
        "annotations": {"kind": "file", "artifact": artifact}})
    path.write_text(json.dumps(raw))
    traced.lock()
    report = traced.verify()
    assert report.verdict is Verdict.CONTRADICTED
    assert report.first_broken is not None
    assert report.first_broken.node == "statement"
    assert f"data/raw/ghost.tif, and it says {artifact or 'none'}" in report.first_broken.message


@pytest.fixture
def times_read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was read while hashing."""
    seen: Counter[str] = Counter()
    read: Callable[..., hashing.Digests | None] = hashing._hash

    def counted(path: Path, size: int, steps: hashing._Steps) -> hashing.Digests | None:
        seen[os.path.realpath(path)] += 1
        return read(path, size, steps)

    monkeypatch.setattr(hashing, "_hash", counted)
    return seen


@pytest.mark.parametrize("target", ["models/export", LINEAGE, CARD, WEIGHTS])
def test_a_relative_target_is_read_once_too(
    traced: Project, monkeypatch: pytest.MonkeyPatch, times_read: Counter[str], target: str
) -> None:
    monkeypatch.chdir(traced.root)
    assert verify(identify(target, Paths()), Paths(), progress=False).verdict is Verdict.VERIFIED
    assert times_read
    assert set(times_read.values()) == {1}


def test_lists_of_folders_are_read_with_the_rest(traced: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.lineage import evidence

    batches: list[list[Path]] = []

    def batch(paths: list[Path], progress: bool) -> object:
        batches.append(list(paths))
        return hashing.hash_files(paths, progress)

    monkeypatch.setattr(evidence, "hash_files", batch)
    traced.verify()
    assert all(batches)
    assert len([paths for paths in batches if any(path.suffix == ".dir" for path in paths)]) == 1


def test_a_link_is_judged_by_what_it_leads_to(traced: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.tif"
    traced.file(SCENE).rename(elsewhere)
    traced.file(SCENE).symlink_to(elsewhere)
    report = traced.verify()
    assert report.verdict is Verdict.VERIFIED
    assert ("workspace", Verdict.VERIFIED) in {(one.place, one.verdict) for one in report.links
                                               if one.node == f"file:{SCENE}"}
    change(elsewhere)
    assert [(one.node, one.place) for one in traced.verify().of(Verdict.CONTRADICTED)] == [
        (f"file:{SCENE}", "workspace")]
    elsewhere.unlink()
    assert traced.verify().verdict is Verdict.VERIFIED, "a link to nothing is no file; the cache has the bytes"


def test_a_circle_of_links_cannot_be_read(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.symlink_to(second)
    second.symlink_to(first)
    found = Hashes(progress=False).of(first)
    assert found is not None
    assert found.problem
