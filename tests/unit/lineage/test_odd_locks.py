"""dvc.lock in another layout, cut or beyond reading, a git that answers in part: no alarm, and no way around one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.lineage.dvc_store import DvcLock
from pipeline.lineage.verify import Verdict
from tests.unit.lineage.handmade import CARD, CODE, WEIGHTS, Project, elsewhere, rebuilt


def change(path: Path) -> None:
    """Another last bit, of this name alone."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("before", [b"  train:\n", b"    - path: models/checkpoint\n"])
def test_a_lock_cut_at_the_end_of_a_line_takes_nothing_back(traced: Project, before: bytes) -> None:
    lock = traced.file("dvc.lock")
    change(traced.file(WEIGHTS))
    head, mark, _ = lock.read_bytes().partition(before)
    assert mark
    lock.write_bytes(head)
    report = traced.verify()
    assert report.verdict is Verdict.ABSENT
    assert any("does not name" in link.message and "which that of HEAD does" in link.message for link in report.links)


@pytest.mark.parametrize("written", ["'models/checkpoint'", '"models/checkpoint"', "models/checkpoint/",
                                     "./models/checkpoint"])
def test_a_path_may_be_written_otherwise(traced: Project, written: str) -> None:
    lock = traced.file("dvc.lock")
    lock.write_text(lock.read_text().replace("- path: models/checkpoint\n", f"- path: {written}\n"))
    assert traced.verify().verdict is Verdict.VERIFIED
    change(traced.file(WEIGHTS))
    assert traced.verify().verdict is Verdict.CONTRADICTED


def test_line_ends_of_another_system_are_no_alarm(traced: Project, tmp_path: Path) -> None:
    export = elsewhere(traced, tmp_path / "old")
    rebuilt(traced)
    traced.commit()
    lock = traced.file("dvc.lock")
    lock.write_bytes(lock.read_bytes().replace(b"\n", b"\r\n"))
    assert traced.verify(str(export)).verdict is Verdict.VERIFIED


def test_a_checkout_with_autocrlf_is_no_alarm_and_an_edit_in_it_is(traced: Project) -> None:
    traced.git("config", "core.autocrlf", "true")
    for name in traced.git("ls-files").split():
        traced.file(name).unlink()
    traced.git("checkout", "--", ".")
    assert b"\r\n" in traced.file("dvc.lock").read_bytes()
    assert traced.verify().verdict is Verdict.VERIFIED
    change(traced.file(CODE))
    assert traced.verify().verdict is Verdict.CONTRADICTED


def test_a_long_path_that_dvc_folds_is_read() -> None:
    from dvc.utils.serialize import dumps_yaml

    path = "/mnt/shared data/projects of the institute/glacier lakes of this year/inputs of all who took part"
    deps = [{"path": path, "hash": "md5", "md5": "0" * 32, "size": 1}]
    data = dumps_yaml({"schema": "2.0", "stages": {"acquire": {"cmd": "x", "deps": deps, "outs": []}}}).encode()
    assert path.encode() not in data
    lock = DvcLock.of_yaml(data)
    assert lock is not None
    assert lock.stages["acquire"].deps == {path: "0" * 32}
    assert lock.is_whole(data)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a stage's name": lambda data: data.replace(b"  train:\n", b"  t\xf2ain:\n"),
    "a date that is none": lambda data: data.replace(b"stages:\n", b"a: 2024-99-99\nstages:\n"),
    "nested": lambda _: b"stages:\n  a: " + b"[" * 20000 + b"\n"}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_lock_beyond_reading_is_no_traceback(traced: Project, damage: Callable[[bytes], bytes]) -> None:
    lock = traced.file("dvc.lock")
    before = lock.read_bytes()
    lock.write_bytes(damage(before))
    assert lock.read_bytes() != before
    assert traced.verify().verdict is Verdict.VERIFIED
    change(traced.file(WEIGHTS))
    assert traced.verify().verdict in (Verdict.ABSENT, Verdict.CONTRADICTED)


@pytest.mark.parametrize("name", [CODE, "inputs/README.md"])
def test_a_git_that_fails_elsewhere_hides_no_edit(traced: Project, name: str) -> None:
    traced.file(".git/refs/heads/broken").write_text("1" * 40 + "\n")
    assert traced.verify().verdict is Verdict.VERIFIED
    change(traced.file(name))
    assert traced.verify().verdict is Verdict.CONTRADICTED


@pytest.mark.parametrize("target", [CARD, WEIGHTS, "models/checkpoint", "copy"])
def test_a_damaged_lineage_json_in_the_workspace_is_seen_from_anywhere(
    traced: Project, tmp_path: Path, target: str
) -> None:
    copy = shutil.copy(traced.file(CARD), tmp_path / "copy.md")
    file = traced.file("models/export/lineage.json")
    file.write_bytes(file.read_bytes()[:-20])
    report = traced.verify(str(copy) if target == "copy" else target)
    assert report.verdict is Verdict.CONTRADICTED
    assert report.first_broken is not None
    assert report.first_broken.node == "statement"


@pytest.mark.parametrize("data", [b"\xff\xfe\n", b"!\n"])
def test_a_dvcignore_that_is_none_is_said(traced: Project, data: bytes) -> None:
    traced.file(".dvcignore").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"\.dvcignore must"):
        traced.verify()


def test_models_may_lie_behind_a_link(traced: Project, tmp_path: Path) -> None:
    traced.file(".dvcignore").write_text("*.log\n")
    traced.file("models").rename(tmp_path / "disk")
    traced.file("models").symlink_to(tmp_path / "disk")
    traced.file("models/export/notes.log").write_text("mine")
    assert traced.verify().verdict is Verdict.VERIFIED
