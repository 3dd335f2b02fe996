"""`kumulus promote` on a whole build: gates of an experiment, its real statement and bytes, and maps by the alias."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.paths import Paths
from pipeline.tracking.lookup import FoundVersion, looking
from pipeline.tracking.runs import run_key
from tests.e2e.conftest import Repository, own_copy

NAME = "kumulus-settlement"


@pytest.fixture(scope="module")
def repo(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy of the repository with its own MLflow, in which an experiment with targets has run."""
    made = own_copy(repository, tmp_path_factory.mktemp("promotion") / "project")
    made.call("dvc", "exp", "run", "--temp", "--name", "gated", "--set-param",
              '+evaluate.targets={informal_settlement.iou: "<= 0.99", mcc: "> -0.999"}')
    return made


def holder(repo: Repository) -> FoundVersion | None:
    with looking(Paths(repo.root)) as lookup:
        return lookup.holder(NAME, "champion")


@pytest.fixture
def champion(repo: Repository) -> FoundVersion:
    """Version 1, which has been given the alias."""
    status, text = repo.kumulus("promote", f"models:/{NAME}/1", "--without-targets")
    assert status == 0, text
    found = holder(repo)
    assert found is not None
    assert found.version == "1"
    return found


def test_only_what_declares_targets_keeps_them_and_verifies(repo: Repository) -> None:
    with closing(sqlite3.connect(repo.root / "mlflow.db")) as database, database:
        database.execute("delete from registered_model_aliases")  # another test may have made a champion
    key = run_key(Paths(repo.root))
    status, text = repo.kumulus("promote", f"models:/{NAME}/1")
    assert status == 1, text
    assert "the build declares no targets" in text
    status, text = repo.kumulus("promote", key)  # exported twice: without targets, and with
    assert status == 1, text
    assert f"name one of models:/{NAME}/2, models:/{NAME}/1" in text
    assert holder(repo) is None

    status, text = repo.kumulus("promote", "gated")
    assert status == 0, text
    assert "gate: mcc > -0.999 holds" in text
    assert f"models:/{NAME}/2 is models:/{NAME}@champion now" in text
    found = holder(repo)
    assert found is not None
    assert found.version == "2"
    assert repo.call("git", "status", "--porcelain") == ""

    status, text = repo.kumulus("promote", f"models:/{NAME}/1", "--without-targets")
    assert status == 0, text
    # One training exported twice: the same network on the same blocks.
    assert "differences: version 1 minus 2 on the" in text
    assert "+0.000 [+0.000, +0.000]" in text


@pytest.mark.usefixtures("champion")
def test_maps_are_made_by_the_champion(repo: Repository, tmp_path: Path) -> None:
    status, text = repo.kumulus("predict", "data/raw/scenes/synthetic.tif", "--model", f"models:/{NAME}@champion",
                                "--out", tmp_path / "maps")
    assert status == 0, text
    assert (tmp_path / "maps/synthetic_class.tif").read_bytes()


def test_a_registered_file_with_another_byte_is_contradicted(repo: Repository, champion: FoundVersion) -> None:
    with looking(Paths(repo.root)) as lookup:
        file = lookup.model_file(f"models:/{NAME}/2")
    data, state = file.read_bytes(), file.stat()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    try:
        status, text = repo.kumulus("promote", "gated")
    finally:
        file.write_bytes(data)
    assert status == 4, text
    assert "is not promoted" in text
    assert holder(repo) == champion


def test_a_scene_that_is_nowhere_is_unverifiable(repo: Repository) -> None:
    aside = repo.root / "data/raw"
    kept = repo.root / ".dvc/cache"
    places = [(aside, aside.with_name("aside")), (kept, kept.with_name("aside"))]
    for place, hidden in places:
        place.rename(hidden)
    try:
        status, text = repo.kumulus("promote", f"models:/{NAME}/2")
    finally:
        for place, hidden in places:
            hidden.rename(place)
    assert status == 3, text
    assert "is not promoted" in text
