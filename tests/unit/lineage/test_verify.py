"""What verification says of a hand-made project: which link is broken, and where nothing is."""

import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.lineage.verify import Verdict
from pipeline.paths import Paths
from tests.unit.lineage.files import flip, sha256
from tests.unit.lineage.handmade import CARD, CODE, SCENE, WEIGHTS, Project, elsewhere, make_project, named, rebuilt


def test_untouched_is_verified(traced: Project) -> None:
    report = traced.verify()
    assert report.verdict is Verdict.VERIFIED
    assert report.first_broken is None
    assert not report.of(Verdict.CONTRADICTED, Verdict.MOVED_ON)
    assert report.node_verdicts()[f"file:{SCENE}"] is Verdict.VERIFIED
    assert {link.place for link in report.links if link.node == f"file:{SCENE}"} == {"workspace", "DVC's cache"}


def test_nothing_is_written(traced: Project) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in traced.root.rglob("*")}

    before = state()
    flip(traced.file(SCENE))
    os.utime(traced.file(SCENE), ns=(0, before[str(traced.file(SCENE))][0]))
    traced.verify()
    assert state() == before


@pytest.mark.parametrize(("name", "node"), [
    (SCENE, f"file:{SCENE}"),
    ("data/raw/labels.gpkg", "file:data/raw/labels.gpkg"),
    ("data/scenes/a/labels.tif", "file:data/scenes/a/labels.tif"),
    (WEIGHTS, f"file:{WEIGHTS}"),
    ("models/run.json", "artifact:models/run.json"),
    ("reports/train/environment.png", "file:reports/train/environment.png"),
    ("models/export/maps/a.qml", "subject:maps/a.qml"),
    ("models/export/provenance.json", "provenance"),
    (CODE, f"code:{CODE}"),
    ("requirements.lock", "lock"),
    ("inputs/README.md", "input:inputs/README.md"),
])
def test_a_flipped_byte_in_the_workspace_is_named(traced: Project, name: str, node: str) -> None:
    flip(traced.file(name))
    report = traced.verify()
    assert named(report) == [(node, "workspace")]
    assert report.verdict is Verdict.CONTRADICTED
    assert report.first_broken is not None
    assert name.rpartition("/")[2] in report.first_broken.message


def test_a_flipped_target_is_named_before_all(traced: Project) -> None:
    flip(traced.file(CARD), 0)
    flip(traced.file(SCENE))
    report = traced.verify()
    assert named(report) == [("subject", "workspace"), (f"file:{SCENE}", "workspace")]
    assert report.first_broken is not None
    assert report.first_broken.node == "subject"


def test_another_builds_tag_is_named(traced: Project) -> None:
    flip(traced.file(CARD), len("sha256 `"))  # a digit of the digest it carries: the file itself comes first
    assert named(traced.verify()) == [("subject", "workspace"), ("provenance", str(traced.file(CARD)))]


@pytest.mark.parametrize("name", [SCENE, WEIGHTS, CARD, "models/export/lineage.json"])
def test_a_flipped_object_of_the_cache_is_named(traced: Project, name: str) -> None:
    flip(traced.cached(name))
    report = traced.verify()
    if name.endswith("lineage.json"):  # the workspace's own is what DVC lists
        assert report.verdict is Verdict.VERIFIED
    else:
        assert named(report) == [("subject" if name == CARD else f"file:{name}", "DVC's cache")]


def test_a_flipped_list_of_a_folder_is_named(traced: Project) -> None:
    flip(traced.cached("data/raw"))
    assert named(traced.verify()) == [("artifact:data/raw", "DVC's cache")]


def test_one_file_under_two_names_is_wrong_in_both(tmp_path: Path) -> None:
    made = make_project(tmp_path / "linked", links=True)
    flip(made.file(SCENE))
    assert named(made.verify()) == [(f"file:{SCENE}", "workspace"), (f"file:{SCENE}", "DVC's cache")]


def test_a_file_too_many_is_named(traced: Project) -> None:
    traced.file("data/raw/scenes/b.tif").write_bytes(b"b")
    report = traced.verify()
    assert named(report) == [("artifact:data/raw", "workspace")]
    assert "scenes/b.tif" in report.first_broken.message if report.first_broken else False
    traced.file(".dvcignore").write_text("b.tif\n")
    assert traced.verify().verdict is Verdict.VERIFIED


def test_what_git_serves_is_rehashed(traced: Project) -> None:
    blob = traced.git("rev-parse", f"HEAD:{CODE}")
    path, content = traced.file(f".git/objects/{blob[:2]}/{blob[2:]}"), b'"""Cod_."""\n'
    path.chmod(0o644)
    path.write_bytes(zlib.compress(b"blob %d\0" % len(content) + content))
    assert named(traced.verify()) == [(f"code:{CODE}", "git")]


@pytest.mark.parametrize("mark", ['"sha256": "', '"finishedOn": "', '"subject": '])
def test_a_flipped_lineage_is_named_alone(traced: Project, tmp_path: Path, mark: str) -> None:
    path = traced.file("models/export/lineage.json")
    at = path.read_bytes().index(mark.encode()) + len(mark)
    flip(path, at)
    assert named(traced.verify()) == [("statement", str(path))]
    card = elsewhere(traced, tmp_path / "copy")
    if mark != '"finishedOn": "':  # there it could be another export of the same build
        assert [node for node, _ in named(traced.verify(str(card)))] == ["statement"]


def test_lineage_is_held_against_provenance_where_dvc_is_not(traced: Project, tmp_path: Path) -> None:
    card = elsewhere(traced, tmp_path / "copy")
    alone = Project(tmp_path / "empty")
    alone.root.mkdir()
    report = alone.verify(str(card))
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert report.first_broken.node == "statement"
    text = (card.parent / "lineage.json").read_text()
    recorded = sha256(traced.file(WEIGHTS))
    (card.parent / "lineage.json").write_text(text.replace(recorded, recorded[::-1]))
    report = alone.verify(str(card))
    assert named(report)[0][0] == "statement"
    assert WEIGHTS in report.first_broken.message if report.first_broken else False


@pytest.mark.parametrize("gone", ["data", ".dvc/cache"])
def test_one_place_is_enough(traced: Project, gone: str) -> None:
    shutil.rmtree(traced.file(gone))
    report = traced.verify()
    assert report.verdict is Verdict.VERIFIED
    assert not report.of(Verdict.CONTRADICTED)


def test_what_is_nowhere_makes_it_unverifiable(traced: Project) -> None:
    traced.cached(WEIGHTS).unlink()
    traced.file(WEIGHTS).unlink()
    report = traced.verify()
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert report.first_broken.node == f"file:{WEIGHTS}"
    assert "dvc pull" in report.first_broken.message


def test_a_report_that_is_nowhere_takes_nothing_away(traced: Project) -> None:
    traced.cached("reports/train/environment.png").unlink()
    traced.file("reports/train/environment.png").unlink()
    assert traced.verify().verdict is Verdict.VERIFIED


def remote(traced: Project, folder: Path) -> Path:
    """A clone's state before `dvc pull`: objects at a remote, none here."""
    shutil.copytree(traced.file(".dvc/cache/files"), folder / "files")
    for name in ("data", "models/checkpoint", "reports", ".dvc/cache"):
        shutil.rmtree(traced.file(name))
    traced.file(".dvc/config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {folder}\n")
    return folder


def test_a_remote_is_rehashed_where_this_machine_has_nothing(traced: Project, tmp_path: Path) -> None:
    weights = traced.cached(WEIGHTS).relative_to(traced.file(".dvc/cache"))
    store = remote(traced, tmp_path / "store")
    report = traced.verify()
    assert report.verdict is Verdict.VERIFIED
    assert {link.place for link in report.links if link.node == f"file:{WEIGHTS}"} == {"remote store"}
    flip(store / weights)
    assert named(traced.verify()) == [(f"file:{WEIGHTS}", "remote store")]


def test_a_remote_that_is_away_is_said(traced: Project, tmp_path: Path) -> None:
    store = remote(traced, tmp_path / "store")
    shutil.rmtree(store)
    assert traced.verify().verdict is Verdict.ABSENT


def test_a_workspace_about_another_build_has_moved_on(traced: Project, tmp_path: Path) -> None:
    card = elsewhere(traced, tmp_path / "copy")
    rebuilt(traced)
    assert traced.verify().verdict is Verdict.VERIFIED
    report = traced.verify(str(card))
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    moved = {link.node for link in report.of(Verdict.MOVED_ON)}
    assert {f"file:{SCENE}", f"file:{WEIGHTS}"} <= moved
    assert "file:data/labels/labels.gpkg" not in moved


def test_a_checkout_of_git_alone_is_no_alarm(traced: Project, tmp_path: Path) -> None:
    card = elsewhere(traced, tmp_path / "copy")
    rebuilt(traced)
    traced.git("checkout", "--quiet", "dvc.lock")
    assert traced.verify(str(card)).verdict is Verdict.VERIFIED  # dvc.lock names the old build, the new one lies here
    assert traced.verify().verdict is Verdict.VERIFIED


def test_two_exports_of_one_build_both_hold(traced: Project, tmp_path: Path) -> None:
    card = elsewhere(traced, tmp_path / "copy")
    path = traced.file("models/export/lineage.json")
    path.write_text(path.read_text().replace('"finishedOn": "20', '"finishedOn": "21'))
    traced.lock()
    for target in (CARD, str(card)):
        report = traced.verify(target)
        assert report.verdict is Verdict.VERIFIED, report.first_broken


@pytest.mark.parametrize(("later", "expected"), [
    (lambda traced: None, Verdict.CONTRADICTED),
    (lambda traced: traced.commit(), Verdict.MOVED_ON),
    (lambda traced: traced.lock(), Verdict.MOVED_ON),
], ids=["edited", "committed", "built"])
@pytest.mark.parametrize(("name", "old", "new", "node"), [
    (CODE, "Code", "New code", f"code:{CODE}"),
    ("params.yaml", "lr: 1e-3", "lr: 2e-3", "params"),
], ids=["code", "params"])
def test_an_edit_is_what_dvc_lock_or_git_say_of_it(
    traced: Project, later: Callable[[Project], None], expected: Verdict, name: str, old: str, new: str, node: str
) -> None:
    path = traced.file(name)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    later(traced)
    report = traced.verify()
    here = [link.verdict for link in report.links if link.node == node and link.place == "workspace"]
    assert here == [expected]
    assert report.verdict is (expected if expected is Verdict.CONTRADICTED else Verdict.VERIFIED)


def test_params_are_values(traced: Project) -> None:
    path = traced.file("params.yaml")
    path.write_text("# a comment\n" + path.read_text().replace("lr: 1e-3", "lr: 0.001"))
    assert traced.verify().verdict is Verdict.VERIFIED
    path.write_text(path.read_text().replace("lr: 0.001", "lr: 0.0015"))
    report = traced.verify()
    assert report.first_broken is not None
    assert "train.optimizer.lr is 0.0015, and stage train was run with 0.001" in report.first_broken.message
    path.write_text("seed: [")
    report = traced.verify()
    assert named(report) == [("params", "workspace")]


def test_code_that_was_never_committed_is_found_where_it_lies(tmp_path: Path) -> None:
    made = make_project(tmp_path / "dirty")
    made.file(CODE).write_text("dirty\n")
    made.export()
    made.lock()
    assert made.verify().verdict is Verdict.VERIFIED
    made.file(CODE).write_text("other\n")
    assert named(made.verify()) == [(f"code:{CODE}", "workspace")]
    made.lock()  # the workspace has moved on, and git never had it
    report = made.verify()
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert report.first_broken.node == f"code:{CODE}"


def test_a_detached_head_and_no_git_are_no_alarm(traced: Project) -> None:
    traced.git("checkout", "--quiet", "--detach")
    assert traced.verify().verdict is Verdict.VERIFIED
    shutil.rmtree(traced.file(".git"))
    assert traced.verify().verdict is Verdict.VERIFIED


def test_a_file_without_its_statement_is_unverifiable(traced: Project, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    shutil.copyfile(traced.file(CARD), folder / "map.md")
    report = Project(folder).verify("map.md")
    assert report.verdict is Verdict.ABSENT
    assert [link.node for link in report.links] == ["statement"]
    shutil.copyfile(traced.file(CARD), traced.file("map.md"))
    assert traced.verify("map.md").verdict is Verdict.VERIFIED
    traced.file("map.md").write_text(traced.file("map.md").read_text() + "more\n")
    assert [node for node, _ in named(traced.verify("map.md"))] == ["subject"]


def test_the_statement_itself_asks_for_all_its_files(traced: Project) -> None:
    target = "models/export/lineage.json"
    assert traced.verify(target).verdict is Verdict.VERIFIED
    traced.cached("models/export/maps/a.qml").unlink()
    traced.file("models/export/maps/a.qml").unlink()
    assert traced.verify(CARD).verdict is Verdict.VERIFIED
    assert traced.verify(target).verdict is Verdict.ABSENT


def test_outside_of_any_project_nothing_is_known(tmp_path: Path) -> None:
    from pipeline.lineage.objects import Objects

    objects = Objects(Paths(tmp_path))
    assert list(objects.exports()) == []
    assert objects.find_statement("0" * 64) is None
    assert objects.find_provenance("0" * 64) is None


def test_params_hold_when_the_schema_has_changed_since(traced: Project) -> None:
    rewrite = traced.file("models/export/lineage.json")
    for path in (traced.file("models/export/provenance.json"), rewrite):
        text = path.read_text()
        assert '"patience": ' in text
        path.write_text(text.replace('"patience": ', '"a_key_of_then": 1, "patience": '))
    name = "models/export/provenance.json"
    digest, old = map(sha256, (traced.file(name), traced.cached(name)))
    card = traced.file(CARD)
    card.write_text(card.read_text().replace(old, digest))
    text = rewrite.read_text().replace(old, digest)
    rewrite.write_text(text.replace(sha256(traced.cached(CARD)), sha256(card)))
    traced.lock()
    assert traced.verify().verdict is Verdict.VERIFIED
    assert not traced.verify().of(Verdict.MOVED_ON)
    path = traced.file("params.yaml")
    path.write_text(path.read_text().replace("lr: 1e-3", "lr: 2e-3"))
    assert named(traced.verify()) == [("params", "workspace")]
