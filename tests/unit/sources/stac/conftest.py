"""A STAC API on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sources.stac.stac_server import StacServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StacServer]:
    """An API without items."""
    with StacServer(tmp_path / "served") as started:
        yield started
