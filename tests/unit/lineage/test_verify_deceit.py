"""What verification says of those who know how it works: swapped files, rewritten statements, files that hide."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.lineage import check_files
from pipeline.lineage.evidence import Hashes, Item, judge
from pipeline.lineage.objects import Export, Objects
from pipeline.lineage.tree import build
from pipeline.lineage.verdicts import Link
from pipeline.lineage.verify import Verdict, verify
from pipeline.paths import write_json
from pipeline.tracking.oids import folder_oid, git_blob
from pipeline.tracking.statement import Statement
from tests.unit.lineage.files import sha256
from tests.unit.lineage.handmade import CARD, CODE, SCENE, WEIGHTS, Project, address, elsewhere, named, rebuilt

LINEAGE, PROVENANCE = "models/export/lineage.json", "models/export/provenance.json"

#: A regular file that opens and gives an error to whoever reads it, also to root.
UNREADABLE = Path("/proc/self/mem")


def rewritten(path: Path, **changes: Any) -> None:
    """A lineage.json with other parts of its buildDefinition."""
    raw = json.loads(path.read_text())
    raw["predicate"]["buildDefinition"] |= changes
    write_json(path, raw)


def listed(traced: Project) -> None:
    """Put models/export into DVC's cache as it lies there, without any dvc.lock."""
    folder, files = traced.paths.export, {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        files[path.relative_to(folder).as_posix()] = md5 = hashlib.md5(path.read_bytes()).hexdigest()
        kept = address(traced.root, md5)
        kept.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, kept)
    target = address(traced.root, folder_oid(files))
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]))


def hide(path: Path) -> None:
    if not UNREADABLE.exists():
        pytest.skip("no /proc: nothing here that even root cannot read")
    path.unlink()
    path.symlink_to(UNREADABLE)


def test_a_version_of_another_artifact_is_no_version_of_this_one(traced: Project) -> None:
    shutil.copyfile(traced.file("data/raw/labels.gpkg"), traced.file("data/labels/labels.gpkg"))
    assert named(traced.verify()) == [("file:data/labels/labels.gpkg", "workspace")]


def test_a_folder_of_two_versions_is_no_version(traced: Project, tmp_path: Path) -> None:
    card, catalog = str(elsewhere(traced, tmp_path / "copy")), traced.paths.catalog
    before = catalog.read_bytes()
    rebuilt(traced)
    traced.git("checkout", "--quiet", "dvc.lock")
    assert traced.verify(card).verdict is Verdict.VERIFIED
    catalog.write_bytes(before)  # the scene stays that of the later build
    assert named(traced.verify(card)) == [(f"file:{SCENE}", "workspace")]


def test_a_statement_without_what_it_came_from_is_named(traced: Project) -> None:
    kept = [entry for entry in json.loads(traced.file(LINEAGE).read_text())["predicate"]["buildDefinition"][
        "resolvedDependencies"] if entry["annotations"]["kind"] in ("code", "lock", "pipeline")]
    rewritten(traced.file(LINEAGE), resolvedDependencies=kept)
    traced.file("dvc.lock").unlink()
    traced.git("rm", "--quiet", "--cached", "dvc.lock")
    listed(traced)
    report = traced.verify()
    assert ("statement", str(traced.file(LINEAGE))) in named(report)
    assert "artifact data/raw" in report.first_broken.message if report.first_broken else False


@pytest.mark.parametrize("name", [SCENE, "data/splits/certificate.json", "reports/evaluate/metrics.json"])
def test_a_statement_without_a_file_of_provenance_is_named(traced: Project, name: str) -> None:
    path = traced.file(LINEAGE)
    found = json.loads(path.read_text())["predicate"]["buildDefinition"]["resolvedDependencies"]
    rewritten(path, resolvedDependencies=[entry for entry in found if entry["name"] != name
                                          or entry["annotations"]["kind"] == "source"])
    traced.lock()
    report = traced.verify()
    assert any(link.node == "statement" and name in link.message for link in report.of(Verdict.CONTRADICTED))


def test_a_statement_without_a_source_of_provenance_is_named(traced: Project) -> None:
    path = traced.file(LINEAGE)
    found = json.loads(path.read_text())["predicate"]["buildDefinition"]["resolvedDependencies"]
    rewritten(path, resolvedDependencies=[entry for entry in found if entry["annotations"]["kind"] != "source"])
    traced.lock()
    assert [node for node, _ in named(traced.verify())] == ["statement"]


def test_a_record_that_only_the_cache_has_is_called_so(traced: Project) -> None:
    report = traced.verify()
    assert "dvc.lock" in report.links[0].message
    traced.file("dvc.lock").unlink()
    shutil.rmtree(traced.file(".git"))
    shutil.rmtree(traced.file(".dvc/cache/runs"))
    report = traced.verify()
    assert report.links[0].verdict is Verdict.VERIFIED
    assert "no dvc.lock at hand names that list" in report.links[0].message


def both_replaced(folder: Path) -> None:
    """provenance.json of other params, and a lineage.json that goes with it."""
    provenance, lineage = folder / "provenance.json", folder / "lineage.json"
    before = sha256(provenance)
    provenance.write_text(provenance.read_text().replace('"patience": ', '"other": 1, "patience": '))
    lineage.write_text(lineage.read_text().replace('"patience": ', '"other": 1, "patience": ')
                       .replace(before, sha256(provenance)))


def test_lineage_and_provenance_replaced_together_are_named(traced: Project, tmp_path: Path) -> None:
    card = elsewhere(traced, tmp_path / "copy")
    both_replaced(traced.paths.export)
    for target in (CARD, LINEAGE):
        report = traced.verify(target)
        assert report.verdict is Verdict.CONTRADICTED
        assert report.first_broken is not None
        assert (report.first_broken.node, report.first_broken.place) == ("statement", str(traced.file(LINEAGE)))
    both_replaced(card.parent)  # where DVC is asked of a copy, the card's own tag tells
    assert ("subject:model_card.md", str(card)) in named(traced.verify(str(card.parent)))


def test_a_file_too_many_in_the_export_is_named(traced: Project, tmp_path: Path) -> None:
    card = elsewhere(traced, tmp_path / "copy")
    for folder in (traced.paths.export, card.parent):
        (folder / "maps/more.tif").write_bytes(b"more")
    for target in (CARD, LINEAGE):
        report = traced.verify(target)
        assert named(report) == [("stage:export", "workspace")]
        assert "maps/more.tif" in report.first_broken.message if report.first_broken else False
    (traced.paths.export / "maps/more.tif").unlink()
    report = traced.verify(str(card.parent))
    assert report.verdict is Verdict.VERIFIED
    assert [link.found for link in report.of(Verdict.MOVED_ON)] == ["maps/more.tif"]


def test_every_link_is_of_a_node_of_the_trace(traced: Project) -> None:
    for target in (CARD, LINEAGE):
        identified = traced.identified(target)
        nodes = {node.id for node in build(identified, traced.paths).nodes}
        assert {link.node for link in traced.verify(target).links} <= nodes


def test_an_asset_is_the_node_that_the_trace_has(traced: Project) -> None:
    path = traced.file(LINEAGE)
    found = json.loads(path.read_text())["predicate"]["buildDefinition"]["resolvedDependencies"]
    rewritten(path, resolvedDependencies=[*found, {
        "name": "item:B04", "digest": {"sha256": "a" * 64}, "annotations": {"kind": "asset"}}])
    traced.lock()
    report = traced.verify()
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    nodes = {node.id for node in build(traced.identified(), traced.paths).nodes}
    assert "source:item:B04" in {link.node for link in report.links} & nodes


def test_a_file_that_cannot_be_read_is_absent_and_says_why(traced: Project) -> None:
    hide(traced.file(SCENE))
    report = traced.verify()
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    assert not report.of(Verdict.MOVED_ON)
    assert any(link.node == f"file:{SCENE}" and "cannot be read" in link.message for link in report.of(Verdict.ABSENT))
    hide(traced.cached(SCENE))
    report = traced.verify()
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert str(traced.file(SCENE)) in report.first_broken.message
    assert "cannot be read" in report.first_broken.message


@pytest.mark.parametrize("name", ["params.yaml", "dvc.lock", LINEAGE, PROVENANCE])
def test_records_that_cannot_be_read_are_no_traceback(traced: Project, name: str) -> None:
    identified = traced.identified()
    hide(traced.file(name))
    report = verify(identified, traced.paths, progress=False)
    assert not report.of(Verdict.CONTRADICTED, Verdict.MOVED_ON)


def test_objects_that_cannot_be_read_are_absent(traced: Project) -> None:
    objects = Objects(traced.paths)
    hide(traced.cached("data/raw"))
    hide(traced.file(LINEAGE))
    oid = objects.lock.outs["data/raw"]
    assert objects.by_md5(oid) is None
    here: Export = next(objects.exports())
    assert objects.read(here, "lineage.json") is None
    assert set(objects.unread) == {traced.cached("data/raw"), traced.file(LINEAGE)}
    report = traced.verify()  # DVC's list of data/raw is not held against it
    assert not report.of(Verdict.CONTRADICTED)


def test_exports_are_looked_for_once(traced: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    objects, read = Objects(traced.paths), Objects.folder
    asked: list[str] = []

    def folder(self: Objects, oid: str, remotes: bool = True) -> Mapping[str, str]:
        asked.append(oid)
        return read(self, oid, remotes)

    monkeypatch.setattr(Objects, "folder", folder)
    first = next(objects.exports())
    assert asked == []
    exports = list(objects.exports())
    many = len(asked)
    assert exports[0] is first
    assert [found.export for found in objects.statements()] == exports[:1]
    assert len(asked) == many > 0


def test_a_blob_is_held_against_both_digests_on_record(traced: Project) -> None:
    blob = git_blob(traced.file(CODE).read_bytes())
    for wanted, verdict in ((sha256(traced.file(CODE)), Verdict.VERIFIED), ("b" * 64, Verdict.CONTRADICTED)):
        item = Item(f"code:{CODE}", CODE, wanted, git_blob=blob)
        links = judge([item], Objects(traced.paths), Hashes(progress=False))[item]
        assert [link.verdict for link in links] == [verdict]


@pytest.mark.parametrize("content", [b"[]", b"3", b"{", b'{"_type": 3}', b"\xff"])
def test_a_record_that_is_no_statement_is_no_traceback(traced: Project, content: bytes) -> None:
    before, path = traced.identified(), traced.file(LINEAGE)
    whole = path.read_bytes()
    path.write_bytes(content)
    traced.lock()  # what dvc.lock names is no statement, and what lies there is in no record
    path.write_bytes(whole.replace(b'"finishedOn": "20', b'"finishedOn": "21'))
    report = verify(before, traced.paths, progress=False)
    assert report.first_broken is not None
    assert (report.first_broken.node, report.verdict) == ("statement", Verdict.CONTRADICTED)


def test_a_build_that_runs_beside_makes_it_unverifiable(traced: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(traced.file("data/raw/labels.gpkg"), traced.file("data/labels/labels.gpkg"))
    read = check_files.source_links

    def meanwhile(stated: Statement, verified: set[str]) -> Iterator[Link]:
        with traced.file("dvc.lock").open("a", encoding="utf-8") as file:
            file.write("# another stage is done\n")
        return read(stated, verified)

    assert traced.verify().verdict is Verdict.CONTRADICTED
    monkeypatch.setattr(check_files, "source_links", meanwhile)
    report = traced.verify()
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert report.first_broken.node == "file:data/labels/labels.gpkg"
    assert "dvc repro" in report.first_broken.message
    monkeypatch.undo()
    shutil.copyfile(traced.cached("data/labels/labels.gpkg"), traced.file("data/labels/labels.gpkg"))
    with traced.cached(WEIGHTS).open("ab") as file:
        file.write(b"x")
    monkeypatch.setattr(check_files, "source_links", meanwhile)
    assert named(traced.verify()) == [(f"file:{WEIGHTS}", "DVC's cache")]  # no dvc.lock is needed to say so
