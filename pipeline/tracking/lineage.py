"""lineage.json: the finished files of an export or prediction, and when, from which run and commit they came.

Written last; it names every file by sha256 and the statement (provenance.json) by digest. Imports no mlflow.
"""

import json
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.digests import file_sha256, folder_digests
from pipeline.errors import IntegrityError
from pipeline.paths import Paths, write_json

FORMAT = "kumulus-lineage-1"


def export_lineage(folder: Path, provenance: str, paths: Paths) -> dict[str, Any]:
    """What links the finished files in `folder` to `provenance`, the training run and the commit.

    Raises:
        IntegrityError: models/run.json is not what train writes.
    """
    return {
        "format": FORMAT,
        "kind": "export",
        "provenance": provenance,
        "files": folder_digests(folder),
        "run": _run(paths.run_file),
        "git": git_state(paths.repository),
        "time": now(),
    }


def prediction_lineage(
    scene: Path,
    model: Mapping[str, str],
    provenance: str,
    outputs: Iterable[Path],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """What links predicted maps to the scene's bytes, the model and the model's statement.

    Args:
        scene: the scene's file.
        model: name and sha256 of the model.
        provenance: digest of the model's provenance.json, "" if it has none.
        outputs: finished files.
        settings: how the scene was read and tiled.
    """
    return {
        "format": FORMAT,
        "kind": "prediction",
        "provenance": provenance or None,
        "model": dict(model),
        "scene": {"name": scene.name, "sha256": file_sha256(scene)},
        "settings": dict(settings),
        "files": {path.name: file_sha256(path) for path in outputs},
        "time": now(),
    }


def write_lineage(path: Path, lineage: Mapping[str, Any]) -> None:
    """Write it; from here on no listed file may change."""
    write_json(path, lineage)


def git_state(folder: Path) -> dict[str, Any] | None:
    """{"commit", "dirty"} of the repository around `folder`; None outside of one, without git or a commit."""
    commit = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain")
    return (
        None
        if commit is None or status is None
        else {"commit": commit.strip(), "dirty": bool(status.strip())}
    )


def now() -> str:
    """The time in UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(folder: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return done.stdout


def _run(path: Path) -> dict[str, Any] | None:
    """What train wrote of its run: key and environment; None where there is no file (a pulled checkpoint)."""
    if not path.is_file():
        return None
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise IntegrityError(
            f"{path} must be JSON as train writes it: {error}; run `dvc checkout models/run.json`"
        ) from error
    if not isinstance(run, dict) or "key" not in run:
        raise IntegrityError(
            f"{path} must hold the run's key as train writes it: got {sorted(run)[:5]}; run `dvc repro train`"
        )
    return run
