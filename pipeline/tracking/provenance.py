"""provenance.json: data, code, params and environment that made an export; no run, no time, no machine path.

Its digest is in every exported file, so equal inputs give equal bytes. Imports no mlflow.
"""

import json
import platform
from pathlib import Path
from typing import Any

from pipeline.digests import CODE_ROOT, LOCK_FILE, file_sha256, folder_digests, stage_code
from pipeline.errors import IntegrityError
from pipeline.params.load import Params
from pipeline.params.train import TrainParams
from pipeline.paths import Paths, write_json
from pipeline.tracking.environment import versions
from pipeline.training.cpu import cpu_type

FORMAT = "kumulus-provenance-1"

#: The stages whose code made an export, in order.
STAGES = ("acquire", "refine_labels", "rasterize", "spatial_split", "train", "evaluate", "export")

#: What export reads of evaluate's report.
SCORES = ("confusions.parquet", "metrics.json")


def provenance(params: Params, paths: Paths, code_root: Path = CODE_ROOT) -> dict[str, Any]:
    """The statement, as plain data.

    `data.files` are sha256 by folder and path, `evaluate` those of the scores that the card repeats, `code` those of
    the files dvc.yaml lists for each stage. `warm_start`, where there was one, has the sha256 of the weights that each
    member started from: those of another training's checkpoint, which that training's own statement names under
    `data.files`.

    Args:
        params: the validated params.yaml.
        paths: where the artifacts lie.
        code_root: the folder of dvc.yaml, requirements.lock and the code.

    Raises:
        IntegrityError: an artifact, the catalog or a code file is missing.
    """
    folders = {
        "raw": paths.raw,
        "labels": paths.labels,
        "scenes": paths.scenes,
        "splits": paths.splits,
        "checkpoint": paths.checkpoint,
    }
    return {
        "format": FORMAT,
        "data": {
            "catalog": _catalog(paths.catalog),
            "files": {k: folder_digests(f) for k, f in folders.items()},
        },
        "evaluate": {name: file_sha256(paths.report("evaluate") / name) for name in SCORES},
        "code": {stage: stage_code(code_root, stage) for stage in STAGES},
        "lock": file_sha256(code_root / LOCK_FILE),
        "params": params.dump(),
        "environment": environment(params.section(TrainParams)),
        **({"warm_start": starts} if (starts := warm_starts(paths.checkpoint)) else {}),
    }


def environment(train: TrainParams) -> dict[str, Any]:
    """Machine and libraries of the export, and how the training was asked to run.

    What the training really ran on stands with its key in models/run.json, which lineage.json repeats.
    """
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu_type(),
        "device": "cpu",
        "libraries": versions(),
        "training": train.model_dump(mode="json", include={"accelerator", "devices", "precision", "threads"}),
    }


def write_provenance(path: Path, statement: dict[str, Any]) -> str:
    """Write the statement and return its sha256, which is the digest that exported files carry."""
    write_json(path, statement)
    return file_sha256(path)


def warm_starts(checkpoint: Path) -> dict[str, str]:
    """{member: sha256 of the weights it started from} as the members' model.json say; without those that were drawn."""
    found = {}
    for file in sorted(checkpoint.glob("members/*/model.json")):
        if digest := json.loads(file.read_text(encoding="utf-8")).get("warm_start", ""):
            found[file.parent.name] = digest
    return found


def _catalog(path: Path) -> dict[str, Any]:
    try:
        catalog: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise IntegrityError(
            f"{path} must say where the data came from: not found; run `dvc repro acquire`"
        ) from error
    return catalog
