"""A temporary repository with an MLflow database of its own: made once, in seconds, and copied."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.paths import Paths
from pipeline.tracking.delivery import Courier
from pipeline.tracking.store import client, locate


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without experiments."""
    root = tmp_path_factory.mktemp("empty_database")
    client(locate(Paths(root)))
    return root / "mlflow.db"


@pytest.fixture
def paths(tmp_path: Path, empty_database: Path) -> Paths:
    """A repository whose MLflow is there and empty."""
    root = tmp_path / "repository"
    root.mkdir()
    shutil.copyfile(empty_database, root / "mlflow.db")
    return Paths(root)


@pytest.fixture
def runs(paths: Paths) -> Callable[[], list[Any]]:
    """All runs in the repository's MLflow, oldest first."""

    def search() -> list[Any]:
        courier = Courier(locate(paths))
        oldest_first = ["attributes.start_time ASC"]
        return list(courier.client.search_runs([courier.experiment_id], order_by=oldest_first))

    return search
