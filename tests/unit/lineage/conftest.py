"""Fixtures of lineage: a whole traced project and a small export, both made by hand in a moment."""

import shutil
from pathlib import Path

import pytest

from tests.unit.lineage.handmade import Project, make_project
from tests.unit.lineage.small_export import write_export


@pytest.fixture(scope="session")
def handmade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that `traced` copies."""
    return make_project(tmp_path_factory.mktemp("made") / "project").root


@pytest.fixture
def traced(handmade: Path, tmp_path: Path) -> Project:
    """A project with git, DVC's files and an export, for a test to damage."""
    root = tmp_path / "project"
    shutil.copytree(handmade, root)
    return Project(root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project without git, DVC and MLflow, with an export."""
    folder = tmp_path / "project"
    folder.mkdir()
    write_export(folder)
    return folder
