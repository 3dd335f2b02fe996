"""What all suites share: surroundings of their own, the project's root, real data, a browser, params of a short run."""

import copy
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.chromium import BROWSERS

ROOT = Path(__file__).resolve().parents[1]

#: What turns the settlement recipe into a run of seconds: 256 px, three epochs of a tiny network.
SMALL = {
    "acquire.synthetic.size_px": 256,
    "spatial_split.block_size_m": 320,
    "spatial_split.folds": 3,
    "spatial_split.test_fraction": 0.25,
    "spatial_split.buffer_m": 20,
    "spatial_split.min_pixels": 10,
    "train.network.encoder_depth": 3,
    "train.network.decoder_channels": [32, 16, 8],
    "train.patches.size_px": 64,
    "train.patches.per_epoch": 8,
    "train.batch_size": 4,
    "train.epochs": 3,
    "evaluate.tiles": {"size_px": 128, "overlap_px": 32},
    "evaluate.baselines.boosting_focal": False,
    "evaluate.baselines.boosting_pixels": 2000,
    "evaluate.bootstrap": {"resamples": 100},
    "export.class_shares": {},
}


def _is_of_the_caller(name: str) -> bool:
    """Whether a variable says where git, DVC, MLflow, Dask or Kumulus find what is theirs, or how they work."""
    return (name.startswith(("GIT_", "DVC_", "MLFLOW_")) or name == "DASK_SCHEDULER_ADDRESS"
            or (name.startswith("KUMULUS_") and not name.startswith("KUMULUS_TEST_")))


@pytest.fixture(scope="session", autouse=True)
def _own_surroundings() -> Iterator[None]:
    """No test writes to the MLflow store or the repository of whoever runs it, or heeds their settings of git.

    It comes before every other fixture: those of a session or a module make databases and repositories too. Ctrl-C is
    heard, also by what tests start: a shell starts what is to run in its background with Ctrl-C ignored.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(_is_of_the_caller, list(os.environ)):
            patch.delenv(name)
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scenes and labels; tests that need it skip where there is none."""
    folder = Path(os.environ.get("KUMULUS_TEST_DATA") or ROOT.parent / "shared/data")
    if not folder.is_dir():
        pytest.skip(f"real data: {folder} is no folder; set KUMULUS_TEST_DATA to one that has it")
    return folder


@pytest.fixture(scope="session")
def browser_program() -> str:
    """The program of a browser; tests that need one skip where there is none."""
    asked = os.environ.get("KUMULUS_TEST_BROWSER", "")
    program = asked or next(filter(None, map(shutil.which, BROWSERS)), "")
    if not program:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on PATH; install one (`apt-get install chromium`) "
                    "or name its program in KUMULUS_TEST_BROWSER")
    return program


@pytest.fixture
def dead_server() -> Iterator[str]:
    """An address on which nothing listens, and on which nothing else can while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(scope="session")
def small_params() -> Callable[..., dict[str, Any]]:
    """A function that gives the raw params of a small run; dotted keys in `changes` are set on top."""
    recipe = YAML(typ="safe", pure=True).load((ROOT / "recipes/settlement.yaml").read_text(encoding="utf-8"))

    def build(changes: dict[str, Any] | None = None) -> dict[str, Any]:
        raw: dict[str, Any] = copy.deepcopy(recipe)
        for key, value in {**SMALL, **(changes or {})}.items():
            node = raw
            *parents, last = key.split(".")
            for part in parents:
                node = node.setdefault(part, {})
            node[last] = copy.deepcopy(value)
        return raw

    return build
