"""On what a stage ran: device, processor, threads, precision, processes, Python and the libraries that compute.

Each stage leaves it in reports/<stage>/environment.json when it has ended well. It is part of an out, so that DVC's
run-cache and `dvc pull` bring it along with the result it belongs to, and no stage's dep. No time, no path.
"""

import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from pipeline.cores import available_cores
from pipeline.errors import IntegrityError
from pipeline.paths import Paths
from pipeline.training.cpu import cpu_type

ENVIRONMENT_FILE = "environment.json"

#: Stages that run a network, and so have a precision; those beside train do it in float32 on the CPU.
_WITH_NETWORK = ("evaluate", "export", "predict")

#: Libraries whose versions can change a result; requirements.lock has all the others.
LIBRARIES = (
    "geopandas",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pandas",
    "pyogrio",
    "rasterio",
    "scikit-learn",
    "scipy",
    "segmentation-models-pytorch",
    "shapely",
    "timm",
    "torch",
)


def stage_environment(stage: str, paths: Paths) -> dict[str, Any]:
    """The environment of a stage that has run in this process.

    Training says itself in models/run.json on what it ran, which is repeated here.

    Raises:
        IntegrityError: models/run.json is not what train writes.
    """
    found: dict[str, Any] = {"device": "cpu", "cpu": cpu_type(), "threads": _threads(), "world_size": 1,
                             "python": platform.python_version(), "system": platform.system(),
                             "machine": platform.machine(), "libraries": versions()}
    if stage in _WITH_NETWORK:
        found["precision"] = "32-true"
    if stage == "train":
        found |= run_record(paths.run_file).get("environment", {})
    return found


def recorded_environment(stage: str, paths: Paths) -> dict[str, Any] | None:
    """What a stage left in its report; None where it left none, as when only some outs were pulled.

    Raises:
        IntegrityError: the file is no JSON object.
    """
    file = paths.report(stage) / ENVIRONMENT_FILE
    return _object(file, f"run `dvc repro --force {stage}`") if file.is_file() else None


def run_record(path: Path) -> dict[str, Any]:
    """What train wrote of its run (key, environment, start); {} where there is no file (a pulled checkpoint).

    Raises:
        IntegrityError: it is not what train writes.
    """
    if not path.is_file():
        return {}
    remedy = "run `dvc checkout models/run.json`"
    run = _object(path, remedy)
    if "key" not in run:
        raise IntegrityError(f"{path} must hold the run's key as train writes it: got {sorted(run)[:5]}; {remedy}")
    return run


def versions() -> dict[str, str | None]:
    """Installed versions of the libraries that can change a result; None for one that is not installed."""
    return {name: _version(name) for name in LIBRARIES}


def _object(path: Path, remedy: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"{path} must be JSON as its stage writes it: {error}; {remedy}") from error
    if not isinstance(found, dict):
        raise IntegrityError(f"{path} must be a JSON object as its stage writes it: got {type(found).__name__}; "
                             f"{remedy}")
    return found


def _threads() -> int:
    """Threads that torch computes with where it is loaded, else those OpenMP is given, else the cores it may use."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else available_cores()


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
