"""What verification says where dvc.lock is damaged or gone: what only it could tell is not taken for verified."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.lineage.dvc_store import DvcLock
from pipeline.lineage.verify import Verdict
from pipeline.tracking.export_statement import write_statement
from pipeline.tracking.prediction_statement import prediction_statement
from tests.unit.lineage.handmade import CARD, WEIGHTS, Project

#: A regular file that opens and gives an error to whoever reads it, also to root.
UNREADABLE = Path("/proc/self/mem")


def change(path: Path) -> None:
    """Another last bit."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def in_conflict(path: Path) -> None:
    """As git leaves it where two branches have trained: the checkpoint's id is there twice, between marks."""
    head, mark, rest = path.read_text().partition("- path: models/checkpoint\n")
    line = next(line for line in rest.splitlines() if line.strip().startswith("md5:"))
    both = f"<<<<<<< HEAD\n{line}\n=======\n{line[:-8]}aaaa.dir\n>>>>>>> other"
    path.write_text(head + mark + rest.replace(line, both, 1))


def hidden(path: Path) -> None:
    if not UNREADABLE.exists():
        pytest.skip("no /proc: nothing here that even root cannot read")
    path.unlink()
    path.symlink_to(UNREADABLE)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "conflict": (in_conflict, "is damaged"), "garbage": (lambda path: path.write_bytes(b"\0garbage"), "is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged"), "gone": (Path.unlink, "HEAD has one"),
    "cut": (lambda path: path.write_bytes(path.read_bytes().partition(b"checkpoint")[0]), "is damaged"),
    "unread": (hidden, "cannot be read")}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_dvc_lock_takes_no_contradiction_back(
    traced: Project, damage: Callable[[Path], object], reason: str
) -> None:
    lock = traced.file("dvc.lock")
    change(traced.file(WEIGHTS))
    assert traced.verify().verdict is Verdict.CONTRADICTED
    damage(lock)
    report = traced.verify()
    assert report.verdict is Verdict.ABSENT
    link = next(one for one in report.links if one.node == f"file:{WEIGHTS}" and one.place == "workspace")
    assert (link.verdict, link.is_broken) == (Verdict.ABSENT, True)
    assert link.message.startswith(f"{WEIGHTS} must be held against dvc.lock: ")
    assert reason in link.message
    assert "git checkout dvc.lock" in link.message
    lock.unlink(missing_ok=True)
    traced.git("checkout", "--quiet", "dvc.lock")
    assert traced.verify().verdict is Verdict.CONTRADICTED


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_dvc_lock_is_no_alarm_where_all_bytes_are_as_recorded(
    traced: Project, damage: Callable[[Path], object], reason: str
) -> None:
    assert reason
    damage(traced.file("dvc.lock"))
    assert traced.verify().verdict is Verdict.VERIFIED


@pytest.mark.parametrize("name", ["data/raw/scenes/b.tif", "models/export/maps/b.tif"])
def test_a_file_too_many_is_not_hidden_by_taking_dvc_lock_away(traced: Project, name: str) -> None:
    traced.file(name).write_bytes(b"more")
    assert traced.verify().verdict is Verdict.CONTRADICTED
    traced.file("dvc.lock").unlink()
    report = traced.verify()
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert "git checkout dvc.lock" in report.first_broken.message


def test_a_repository_that_never_had_a_dvc_lock_is_about_nothing(traced: Project) -> None:
    traced.git("rm", "--quiet", "--cached", "dvc.lock")
    traced.git("commit", "--quiet", "--message", "no dvc.lock")
    traced.file("dvc.lock").unlink()
    change(traced.file(WEIGHTS))
    report = traced.verify()
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    assert [link.node for link in report.of(Verdict.MOVED_ON)] == [f"file:{WEIGHTS}"]


def test_where_git_is_silent_too_a_missing_dvc_lock_may_have_told(
    traced: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(traced.file(WEIGHTS))
    traced.file("dvc.lock").unlink()
    monkeypatch.setenv("PATH", "/nowhere")
    messages = [link.message for link in traced.verify().of(Verdict.ABSENT)]
    assert any("whether HEAD has one git does not tell" in message for message in messages)


def test_a_scene_of_a_prediction_is_not_held_against_dvc_lock(traced: Project, tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    folder.mkdir()
    scene, made = folder / "s.tif", folder / "s_class.md"
    scene.write_bytes(b"scene")
    traced.file("s.tif").write_bytes(b"another scene of that name")
    digest = traced.identified().provenance
    made.write_text(f"sha256 `{digest}` of `provenance.json`\n", encoding="utf-8")
    model = {"name": "model_card.md", "sha256": hashlib.sha256(traced.file(CARD).read_bytes()).hexdigest()}
    write_statement(folder / "s_lineage.json", prediction_statement(scene, model, digest, [made], {"bands": []}))
    traced.file("dvc.lock").unlink()
    report = traced.verify(str(made))
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    assert ("scene", "workspace") in {(link.node, link.place) for link in report.of(Verdict.MOVED_ON)}


LOCK = b"""schema: '2.0'
stages:
  train@a-0.1:
    cmd: python -m stages.train
    deps:
    - path: 'data: all'
      hash: md5
      md5: 0123456789abcdef0123456789abcdef.dir
      size: 12
    - path: elsewhere
      hash: etag
      etag: x
    outs:
    - path: models/run.json
      hash: md5
      md5: '12345678901234567890123456789012'
  report:
    cmd: echo
"""


def test_a_dvc_lock_that_dvc_wrote_is_whole() -> None:
    lock = DvcLock.parse(LOCK)
    assert set(lock.stages) == {"train@a-0.1", "report"}
    assert lock.is_whole(LOCK)


@pytest.mark.parametrize("data", [
    b"", b"[1]", b"stages: 3", b"stages: {}", b"stages:\n  a: 3\n", b"a: [", b"\xff\xfe", b"stages:\n- a\n",
    LOCK.replace(b"\n", b"\r\n"), LOCK.replace(b"    outs:", b"    outs :"), LOCK.replace(b"    - ", b"      - "),
    LOCK + LOCK[LOCK.index(b"  report"):], LOCK[:-1]])
def test_a_dvc_lock_that_is_read_in_part_is_not(data: bytes) -> None:
    assert not DvcLock.parse(data).is_whole(data)
