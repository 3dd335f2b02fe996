"""`kill -9` in the middle of a data stage: its outs are absent or the old ones; the next run clears up and ends well.

Every stage runs as DVC runs it, a process in the project's folder, and is killed as soon as it has begun to write.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.digests import folder_digests

ROOT = Path(__file__).resolve().parents[2]
OUTS = {"acquire": ["data/raw", "reports/acquire"], "refine_labels": ["data/labels", "reports/refine_labels"],
        "rasterize": ["data/scenes", "reports/rasterize"], "spatial_split": ["data/splits", "reports/spatial_split"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_params: Callable[..., dict[str, Any]]) -> Path:
    """A folder in which the data stages have run once."""
    root = tmp_path_factory.mktemp("finished")
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(small_params(), file)
    for stage in OUTS:
        done = subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=root, env=environment(root), check=False,
                              stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr
    return root


def environment(root: Path) -> dict[str, str]:
    scratch = root / "tmp"
    scratch.mkdir(exist_ok=True)
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}


def folders(root: Path, stage: str) -> dict[str, dict[str, str]]:
    """Digests of the stage's outs that exist."""
    return {out: folder_digests(root / out) for out in OUTS[stage] if (root / out).exists()}


def leftovers(root: Path) -> list[Path]:
    """Whatever lies beside the outs: partial and scratch files."""
    known = {Path(out).name for outs in OUTS.values() for out in outs}
    beside = [path for parent in ("data", "reports") if (root / parent).exists() for path in (root / parent).iterdir()]
    scratch = list((root / "tmp").iterdir()) if (root / "tmp").exists() else []
    return [path for path in (*beside, *scratch) if path.name not in known]


def run_until(root: Path, stage: str, begun: Callable[[], bool]) -> int:
    """Start a stage, kill it when `begun`, or else at its end; its return code."""
    process = subprocess.Popen([sys.executable, "-m", f"stages.{stage}"], cwd=root, env=environment(root),
                               stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while process.poll() is None and not begun():
        assert time.monotonic() < deadline, f"{stage} wrote nothing and did not end"
        time.sleep(0.002)
    process.kill()
    return process.wait()


def partial(root: Path, out: str) -> bool:
    """Whether the out is being written: its partial folder holds something."""
    folder = root / out
    being_written = folder.with_name(f".{folder.name}.partial")
    try:
        return any(being_written.iterdir())
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("out", "first_time"), [
    ("data/raw", False), ("data/labels", True), ("reports/refine_labels", False), ("data/scenes", False),
    ("data/splits", True), ("reports/spatial_split", False)])
def test_a_kill_leaves_no_half_out(finished: Path, tmp_path: Path, out: str, first_time: bool) -> None:
    stage = next(name for name, outs in OUTS.items() if out in outs)
    root = tmp_path / "work"
    shutil.copytree(finished, root)
    whole = folders(root, stage)
    if first_time:
        for name in OUTS[stage]:
            shutil.rmtree(root / name)
    assert run_until(root, stage, lambda: partial(root, out)) == -signal.SIGKILL
    assert leftovers(root), "killed while it wrote"
    left = folders(root, stage)
    assert all(left[name] == whole[name] for name in left)
    assert (out in left) is not first_time
    assert run_until(root, stage, lambda: False) == 0
    assert folders(root, stage) == whole
    assert leftovers(root) == []
