"""One byte flipped, modification time kept: `verify` names exactly the link that was tampered with.

`python -m pytest tests/e2e/test_tamper.py -s` prints the table, with what `dvc status` says beside it.
"""

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.lineage.dvc_store import DvcLock, listing
from pipeline.lineage.identify import identify
from pipeline.lineage.verify import Report, Verdict, verify
from pipeline.paths import Paths
from tests.e2e.conftest import Repository, own_copy

MODEL, MAP, LINEAGE = "models/export/model.onnx", "models/export/maps/synthetic_class.tif", "models/export/lineage.json"
SCENE = "data/raw/scenes/synthetic.tif"

Tamper = Callable[[Path], AbstractContextManager[None]]


def in_middle(path: Path) -> int:
    return path.stat().st_size // 2


def within(path: Path, mark: bytes) -> int:
    """The last byte of a mark in a file."""
    return path.read_bytes().index(mark) + len(mark) - 1


@contextmanager
def flipped(path: Path, at: int) -> Iterator[None]:
    """The lowest bit of one byte turned over in place; size and times as before, and all of it taken back."""
    state, data = path.stat(), path.read_bytes()
    turned = bytearray(data)
    turned[at] ^= 1
    write(path, bytes(turned), state)
    try:
        yield
    finally:
        write(path, data, state)  # also where DVC has removed it, as it does with an object that it finds damaged


def write(path: Path, data: bytes, state: os.stat_result) -> None:
    if path.exists():
        path.chmod(0o644)
    with path.open("r+b" if path.exists() else "wb") as file:  # the same inode, so that hard links change too
        file.write(data)
    path.chmod(state.st_mode)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def file(name: str, mark: bytes = b"") -> Tamper:
    @contextmanager
    def change(root: Path) -> Iterator[None]:
        path = root / name
        with flipped(path, within(path, mark) if mark else in_middle(path)):
            yield
    return change


def cached(name: str) -> Tamper:
    """A folder's list, or a file of a folder, in DVC's cache; the workspace keeps its own bytes."""
    @contextmanager
    def change(root: Path) -> Iterator[None]:
        path = address(root, name)
        with unlinked(path, root.parent), flipped(path, in_middle(path)):
            yield
    return change


def linked(name: str) -> Tamper:
    """A file that is one with the object in the cache, as DVC's hard links make it."""
    @contextmanager
    def change(root: Path) -> Iterator[None]:
        own, kept = root / name, address(root, name)
        with unlinked(own, root.parent), unlinked(kept, root.parent):
            own.unlink()
            os.link(kept, own)
            with flipped(own, in_middle(own)):
                yield
    return change


@contextmanager
def unlinked(path: Path, beside: Path) -> Iterator[None]:
    """A file made one of its own, and afterwards put back as it was; `beside` is a folder of the same file system."""
    with tempfile.TemporaryDirectory(dir=beside) as folder:
        aside, state = Path(folder) / path.name, path.stat()
        os.link(path, aside)
        path.unlink()
        write(path, aside.read_bytes(), state)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.link(aside, path)


def address(root: Path, name: str) -> Path:
    """Where DVC's cache keeps an out, or a file of one."""
    outs = DvcLock.read(root / "dvc.lock").outs
    cache = root / ".dvc/cache/files/md5"
    for out, oid in outs.items():
        path = cache / oid[:2] / oid[2:]
        if name == out:
            return path
        if name.startswith(f"{out}/"):
            md5 = listing(path.read_bytes())[name.removeprefix(f"{out}/")]
            return cache / md5[:2] / md5[2:]
    raise AssertionError(name)


def tag(table: str, where: str) -> Tamper:
    """The last letter of kumulus.provenance in MLflow's database."""
    @contextmanager
    def change(root: Path) -> Iterator[None]:
        def write(value: str) -> None:
            with closing(sqlite3.connect(root / "mlflow.db")) as base, base:
                assert base.execute(f"update {table} set value = ? where {chosen}", (value,)).rowcount == 1
        chosen = f"key = 'kumulus.provenance' and {where}"
        with closing(sqlite3.connect(root / "mlflow.db")) as base:
            (before,), = base.execute(f"select value from {table} where {chosen}").fetchall()
        write(before[:-1] + chr(ord(before[-1]) ^ 1))
        try:
            yield
        finally:
            write(before)
    return change


@dataclass(frozen=True)
class Row:
    """What is tampered with, and the link that is named."""

    what: str
    change: Tamper
    node: str
    places: tuple[str, ...] = ("workspace",)
    target: str = MODEL


ROWS = (
    Row("raw scene", file(SCENE), f"file:{SCENE}"),
    Row("raw scene, hard-linked to the cache", linked(SCENE), f"file:{SCENE}", ("workspace", "DVC's cache")),
    Row("raw labels", file("data/raw/labels.gpkg"), "file:data/raw/labels.gpkg"),
    Row("refined labels", file("data/labels/labels.gpkg"), "file:data/labels/labels.gpkg"),
    Row("mask", file("data/scenes/synthetic/labels.tif"), "file:data/scenes/synthetic/labels.tif"),
    Row("folds of the split", file("data/splits/synthetic/fold.tif"), "file:data/splits/synthetic/fold.tif"),
    Row("DVC cache, an object", cached(SCENE), f"file:{SCENE}", ("DVC's cache",)),
    Row("DVC cache, a folder's list", cached("data/splits"), "artifact:data/splits", ("DVC's cache",)),
    Row("weights", file("models/checkpoint/members/0/weights.safetensors"),
        "file:models/checkpoint/members/0/weights.safetensors"),
    Row("ONNX", file(MODEL), "subject"),
    Row("ONNX beside the map that is traced", file(MODEL), "subject:model.onnx", target=MAP),
    Row("COG", file(MAP), "subject", target=MAP),
    Row("provenance.json", file("models/export/provenance.json"), "provenance"),
    Row("lineage.json, a digest", file(LINEAGE, b'"sha256": "0'), "statement", (LINEAGE,)),
    Row("lineage.json, its form", file(LINEAGE, b'"subject": ['), "statement", (LINEAGE,)),
    Row("lineage.json, traced itself", file(LINEAGE, b'"finishedOn": "2'), "statement", (LINEAGE,), LINEAGE),
    Row("lineage.json, its form, traced itself", file(LINEAGE, b'"subject": ['), "statement", (LINEAGE,), LINEAGE),
    Row("lineage.json, a key, traced as a folder", file(LINEAGE, b'"_type'), "statement", (LINEAGE,), "models/export"),
    Row("params.yaml", file("params.yaml", b"lr: 0.00"), "params"),
    Row("a code file", file("pipeline/losses/dice.py", b'"""S'), "code:pipeline/losses/dice.py"),
    Row("requirements.lock", file("requirements.lock"), "lock"),
    Row("a user's input", file("inputs/README.md"), "input:inputs/README.md"),
    Row("MLflow, tag of the run", tag("tags", "1 = 1"), "run", ("MLflow run",)),
    Row("MLflow, tag of the version", tag("model_version_tags", "1 = 1"), "model_version:kumulus-settlement/1",
        ("MLflow, kumulus-settlement version 1",)),
)


def verified(root: Path, target: str) -> Report:
    paths = Paths(root)
    return verify(identify(str(root / target), paths), paths, progress=False)


def dvc_status(repository: Repository) -> str:
    """"nothing", or the stages and outs that DVC calls changed."""
    status = json.loads(repository.call("dvc", "status", "--json"))
    return ", ".join(status) or "nothing"


@pytest.fixture(scope="module")
def repository(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy, in whose MLflow there is one run and one version only."""
    return own_copy(repository, tmp_path_factory.mktemp("tampered") / "project")


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest, repository: Repository) -> Iterator[list[str] | None]:
    """Lines of the table, printed when all rows are done; None where pytest would hide it."""
    if request.config.getoption("capture") != "no":
        yield None
        return
    assert dvc_status(repository) == "nothing"  # from here on DVC knows the copy's files by their times
    lines: list[str] = []
    yield lines
    print("\n\n| one byte flipped in | `--verify` names | at | `dvc status` names |\n|---|---|---|---|")
    print("\n".join(lines))


def test_untouched_is_verified(repository: Repository) -> None:
    sources = (SCENE, "data/raw/labels.gpkg", "data/labels/labels.gpkg", "data/scenes/synthetic/labels.tif")
    for target in (MODEL, MAP, LINEAGE, "models/checkpoint/members/0/weights.safetensors", *sources):
        report = verified(repository.root, target)
        assert report.verdict is Verdict.VERIFIED, report.first_broken
        assert not report.of(Verdict.CONTRADICTED, Verdict.ABSENT, Verdict.MOVED_ON)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_names_exactly_the_tampered_link(repository: Repository, row: Row, table: list[str] | None) -> None:
    before = repository.call("git", "status", "--porcelain")
    with row.change(repository.root):
        report = verified(repository.root, row.target)
        seen = dvc_status(repository) if table is not None else ""
    broken = report.of(Verdict.CONTRADICTED)
    assert report.verdict is Verdict.CONTRADICTED
    assert {link.node for link in broken} == {row.node}
    assert len(broken) == len(row.places), broken
    assert all(place in link.place for place, link in zip(row.places, broken, strict=True)), broken
    first = report.first_broken
    assert first is not None
    assert first.node == row.node
    assert not [link for link in report.of(Verdict.ABSENT) if link.counts], "nothing else has gone"
    if table is not None:
        table.append(f"| {row.what} | `{first.node}` | {', '.join(row.places)} | {seen} |")
    assert repository.call("git", "status", "--porcelain") == before
