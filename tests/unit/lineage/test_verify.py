"""What verification says of a hand-made project: which link is broken, and where nothing is."""

import hashlib
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.lineage.verify import Report, Verdict
from pipeline.paths import Paths
from tests.unit.lineage.handmade import CARD, CODE, SCENE, WEIGHTS, Project, make_project


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("made") / "project").root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Project:
    root = tmp_path / "project"
    shutil.copytree(template, root)
    return Project(root)


def flip(path: Path, at: int | None = None) -> None:
    data, state = bytearray(path.read_bytes()), path.stat()
    data[len(data) // 2 if at is None else at] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def named(report: Report) -> list[tuple[str, str]]:
    """(node, place) of what is contradicted."""
    return [(link.node, link.place) for link in report.of(Verdict.CONTRADICTED)]


def elsewhere(project: Project, folder: Path) -> Path:
    """models/export copied out of the repository."""
    shutil.copytree(project.paths.export, folder)
    return folder / "model_card.md"


def test_untouched_is_verified(project: Project) -> None:
    report = project.verify()
    assert report.verdict is Verdict.VERIFIED
    assert report.first_broken is None
    assert not report.of(Verdict.CONTRADICTED, Verdict.MOVED_ON)
    assert report.node_verdicts()[f"file:{SCENE}"] is Verdict.VERIFIED
    assert {link.place for link in report.links if link.node == f"file:{SCENE}"} == {"workspace", "DVC's cache"}


def test_nothing_is_written(project: Project) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in project.root.rglob("*")}

    before = state()
    flip(project.file(SCENE))
    os.utime(project.file(SCENE), ns=(0, before[str(project.file(SCENE))][0]))
    project.verify()
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
def test_a_flipped_byte_in_the_workspace_is_named(project: Project, name: str, node: str) -> None:
    flip(project.file(name))
    report = project.verify()
    assert named(report) == [(node, "workspace")]
    assert report.verdict is Verdict.CONTRADICTED
    assert report.first_broken is not None
    assert name.rpartition("/")[2] in report.first_broken.message


def test_a_flipped_target_is_named_before_all(project: Project) -> None:
    flip(project.file(CARD), 0)
    flip(project.file(SCENE))
    report = project.verify()
    assert named(report) == [("subject", "workspace"), (f"file:{SCENE}", "workspace")]
    assert report.first_broken is not None
    assert report.first_broken.node == "subject"


def test_another_builds_tag_is_named(project: Project) -> None:
    flip(project.file(CARD), len("sha256 `"))  # a digit of the digest it carries: the file itself comes first
    assert named(project.verify()) == [("subject", "workspace"), ("provenance", str(project.file(CARD)))]


@pytest.mark.parametrize("name", [SCENE, WEIGHTS, CARD, "models/export/lineage.json"])
def test_a_flipped_object_of_the_cache_is_named(project: Project, name: str) -> None:
    flip(project.cached(name))
    report = project.verify()
    if name.endswith("lineage.json"):  # the workspace's own is what DVC lists
        assert report.verdict is Verdict.VERIFIED
    else:
        assert named(report) == [("subject" if name == CARD else f"file:{name}", "DVC's cache")]


def test_a_flipped_list_of_a_folder_is_named(project: Project) -> None:
    flip(project.cached("data/raw"))
    assert named(project.verify()) == [("artifact:data/raw", "DVC's cache")]


def test_one_file_under_two_names_is_wrong_in_both(tmp_path: Path) -> None:
    made = make_project(tmp_path / "linked", links=True)
    flip(made.file(SCENE))
    assert named(made.verify()) == [(f"file:{SCENE}", "workspace"), (f"file:{SCENE}", "DVC's cache")]


def test_a_file_too_many_is_named(project: Project) -> None:
    project.file("data/raw/scenes/b.tif").write_bytes(b"b")
    report = project.verify()
    assert named(report) == [("artifact:data/raw", "workspace")]
    assert "scenes/b.tif" in report.first_broken.message if report.first_broken else False
    project.file(".dvcignore").write_text("b.tif\n")
    assert project.verify().verdict is Verdict.VERIFIED


def test_what_git_serves_is_rehashed(project: Project) -> None:
    blob = project.git("rev-parse", f"HEAD:{CODE}").strip()
    path, content = project.file(f".git/objects/{blob[:2]}/{blob[2:]}"), b'"""Cod_."""\n'
    path.chmod(0o644)
    path.write_bytes(zlib.compress(b"blob %d\0" % len(content) + content))
    assert named(project.verify()) == [(f"code:{CODE}", "git")]


@pytest.mark.parametrize("mark", ['"sha256": "', '"finishedOn": "', '"subject": '])
def test_a_flipped_lineage_is_named_alone(project: Project, tmp_path: Path, mark: str) -> None:
    path = project.file("models/export/lineage.json")
    at = path.read_bytes().index(mark.encode()) + len(mark)
    flip(path, at)
    assert named(project.verify()) == [("statement", str(path))]
    card = elsewhere(project, tmp_path / "copy")
    if mark != '"finishedOn": "':  # there it could be another export of the same build
        assert [node for node, _ in named(project.verify(str(card)))] == ["statement"]


def test_lineage_is_held_against_provenance_where_dvc_is_not(project: Project, tmp_path: Path) -> None:
    card = elsewhere(project, tmp_path / "copy")
    alone = Project(tmp_path / "empty")
    alone.root.mkdir()
    report = alone.verify(str(card))
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert report.first_broken.node == "statement"
    text = (card.parent / "lineage.json").read_text()
    recorded = hashlib.sha256(project.file(WEIGHTS).read_bytes()).hexdigest()
    (card.parent / "lineage.json").write_text(text.replace(recorded, recorded[::-1]))
    report = alone.verify(str(card))
    assert named(report)[0][0] == "statement"
    assert WEIGHTS in report.first_broken.message if report.first_broken else False


@pytest.mark.parametrize("gone", ["data", ".dvc/cache"])
def test_one_place_is_enough(project: Project, gone: str) -> None:
    shutil.rmtree(project.file(gone))
    report = project.verify()
    assert report.verdict is Verdict.VERIFIED
    assert not report.of(Verdict.CONTRADICTED)


def test_what_is_nowhere_makes_it_unverifiable(project: Project) -> None:
    project.cached(WEIGHTS).unlink()
    project.file(WEIGHTS).unlink()
    report = project.verify()
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert report.first_broken.node == f"file:{WEIGHTS}"
    assert "dvc pull" in report.first_broken.message


def test_a_report_that_is_nowhere_takes_nothing_away(project: Project) -> None:
    project.cached("reports/train/environment.png").unlink()
    project.file("reports/train/environment.png").unlink()
    assert project.verify().verdict is Verdict.VERIFIED


def remote(project: Project, folder: Path) -> Path:
    """A clone's state before `dvc pull`: objects at a remote, none here."""
    shutil.copytree(project.file(".dvc/cache/files"), folder / "files")
    for name in ("data", "models", "reports", ".dvc/cache"):
        if name != "models":
            shutil.rmtree(project.file(name))
    shutil.rmtree(project.file("models/checkpoint"))
    project.file(".dvc/config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {folder}\n")
    return folder


def test_a_remote_is_rehashed_where_this_machine_has_nothing(project: Project, tmp_path: Path) -> None:
    weights = project.cached(WEIGHTS).relative_to(project.file(".dvc/cache"))
    store = remote(project, tmp_path / "store")
    report = project.verify()
    assert report.verdict is Verdict.VERIFIED
    assert {link.place for link in report.links if link.node == f"file:{WEIGHTS}"} == {"remote store"}
    flip(store / weights)
    assert named(project.verify()) == [(f"file:{WEIGHTS}", "remote store")]


def test_a_remote_that_is_away_is_said(project: Project, tmp_path: Path) -> None:
    store = remote(project, tmp_path / "store")
    shutil.rmtree(store)
    assert project.verify().verdict is Verdict.ABSENT


def rebuilt(project: Project) -> None:
    """Another scene, and everything made anew."""
    scene, catalog = project.file(SCENE), project.paths.catalog
    before = hashlib.sha256(scene.read_bytes()).hexdigest()
    flip(scene)
    catalog.write_text(catalog.read_text().replace(before, hashlib.sha256(scene.read_bytes()).hexdigest()))
    flip(project.file(WEIGHTS))
    project.export()
    project.lock()


def test_a_workspace_about_another_build_has_moved_on(project: Project, tmp_path: Path) -> None:
    card = elsewhere(project, tmp_path / "copy")
    rebuilt(project)
    assert project.verify().verdict is Verdict.VERIFIED
    report = project.verify(str(card))
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    moved = {link.node for link in report.of(Verdict.MOVED_ON)}
    assert {f"file:{SCENE}", f"file:{WEIGHTS}"} <= moved
    assert "file:data/labels/labels.gpkg" not in moved


def test_a_checkout_of_git_alone_is_no_alarm(project: Project, tmp_path: Path) -> None:
    card = elsewhere(project, tmp_path / "copy")
    rebuilt(project)
    project.git("checkout", "--quiet", "dvc.lock")
    assert project.verify(str(card)).verdict is Verdict.VERIFIED  # dvc.lock names the old build, the new one lies here
    assert project.verify().verdict is Verdict.VERIFIED


def test_two_exports_of_one_build_both_hold(project: Project, tmp_path: Path) -> None:
    card = elsewhere(project, tmp_path / "copy")
    path = project.file("models/export/lineage.json")
    path.write_text(path.read_text().replace('"finishedOn": "20', '"finishedOn": "21'))
    project.lock()
    for target in (CARD, str(card)):
        report = project.verify(target)
        assert report.verdict is Verdict.VERIFIED, report.first_broken


@pytest.mark.parametrize(("later", "expected"), [
    (lambda project: None, Verdict.CONTRADICTED),
    (lambda project: project.commit(), Verdict.MOVED_ON),
    (lambda project: project.lock(), Verdict.MOVED_ON),
], ids=["edited", "committed", "built"])
@pytest.mark.parametrize(("name", "old", "new", "node"), [
    (CODE, "Code", "New code", f"code:{CODE}"),
    ("params.yaml", "lr: 1e-3", "lr: 2e-3", "params"),
], ids=["code", "params"])
def test_an_edit_is_what_dvc_lock_or_git_say_of_it(
    project: Project, later: Callable[[Project], None], expected: Verdict, name: str, old: str, new: str, node: str
) -> None:
    path = project.file(name)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    later(project)
    report = project.verify()
    here = [link.verdict for link in report.links if link.node == node and link.place == "workspace"]
    assert here == [expected]
    assert report.verdict is (expected if expected is Verdict.CONTRADICTED else Verdict.VERIFIED)


def test_params_are_values(project: Project) -> None:
    path = project.file("params.yaml")
    path.write_text("# a comment\n" + path.read_text().replace("lr: 1e-3", "lr: 0.001"))
    assert project.verify().verdict is Verdict.VERIFIED
    path.write_text(path.read_text().replace("lr: 0.001", "lr: 0.0015"))
    report = project.verify()
    assert report.first_broken is not None
    assert "train.optimizer.lr is 0.0015, and stage train was run with 0.001" in report.first_broken.message
    path.write_text("seed: [")
    report = project.verify()
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


def test_a_detached_head_and_no_git_are_no_alarm(project: Project) -> None:
    project.git("checkout", "--quiet", "--detach")
    assert project.verify().verdict is Verdict.VERIFIED
    shutil.rmtree(project.file(".git"))
    assert project.verify().verdict is Verdict.VERIFIED


def test_a_file_without_its_statement_is_unverifiable(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    shutil.copyfile(project.file(CARD), folder / "map.md")
    report = Project(folder).verify("map.md")
    assert report.verdict is Verdict.ABSENT
    assert [link.node for link in report.links] == ["statement"]
    shutil.copyfile(project.file(CARD), project.file("map.md"))
    assert project.verify("map.md").verdict is Verdict.VERIFIED
    project.file("map.md").write_text(project.file("map.md").read_text() + "more\n")
    assert [node for node, _ in named(project.verify("map.md"))] == ["subject"]


def test_the_statement_itself_asks_for_all_its_files(project: Project) -> None:
    target = "models/export/lineage.json"
    assert project.verify(target).verdict is Verdict.VERIFIED
    project.cached("models/export/maps/a.qml").unlink()
    project.file("models/export/maps/a.qml").unlink()
    assert project.verify(CARD).verdict is Verdict.VERIFIED
    assert project.verify(target).verdict is Verdict.ABSENT


def test_outside_of_any_project_nothing_is_known(tmp_path: Path) -> None:
    from pipeline.lineage.objects import Objects

    objects = Objects(Paths(tmp_path))
    assert list(objects.exports()) == []
    assert objects.find_statement("0" * 64) is None
    assert objects.find_provenance("0" * 64) is None


def test_params_hold_when_the_schema_has_changed_since(project: Project) -> None:
    rewrite = project.file("models/export/lineage.json")
    for path in (project.file("models/export/provenance.json"), rewrite):
        text = path.read_text()
        assert '"patience": ' in text
        path.write_text(text.replace('"patience": ', '"a_key_of_then": 1, "patience": '))
    name = "models/export/provenance.json"
    digest, old = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (project.file(name), project.cached(name)))
    card = project.file(CARD)
    card.write_text(card.read_text().replace(old, digest))
    text = rewrite.read_text().replace(old, digest)
    rewrite.write_text(text.replace(hashlib.sha256(project.cached(CARD).read_bytes()).hexdigest(),
                                    hashlib.sha256(card.read_bytes()).hexdigest()))
    project.lock()
    assert project.verify().verdict is Verdict.VERIFIED
    assert not project.verify().of(Verdict.MOVED_ON)
    path = project.file("params.yaml")
    path.write_text(path.read_text().replace("lr: 1e-3", "lr: 2e-3"))
    assert named(project.verify()) == [("params", "workspace")]
