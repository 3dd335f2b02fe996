"""The one way bytes are identified: sha256 of files, folders, plain values and of a stage's deps.

Imports neither mlflow nor anything that does: results may carry these digests, so this file is code of results.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.errors import IntegrityError

#: The folder of the code that runs now: it holds pipeline/, stages/, dvc.yaml and requirements.lock.
CODE_ROOT = Path(__file__).resolve().parents[1]

#: The dependency that names the installed libraries.
LOCK_FILE = "requirements.lock"

_TEMPLATE = re.compile(r"^\$\{([A-Za-z0-9_.]+)\}$")


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes, read in pieces.

    Raises:
        IntegrityError: there is no such file.
    """
    if not path.is_file():
        raise IntegrityError(f"{path} must be a file to be identified by its digest: nothing of the kind is "
                             "there; run `dvc repro` or `dvc pull` first")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_sha256(obj: object) -> str:
    """sha256 of a plain value (numbers, strings, lists, mappings), written as JSON with sorted keys, no spaces.

    Raises:
        TypeError: the value has no JSON form.
        ValueError: it holds NaN or an infinity, which JSON has no words for.
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_digests(folder: Path) -> dict[str, str]:
    """{path relative to the folder, with forward slashes: sha256} of all files below it, sorted by path.

    Raises:
        IntegrityError: there is no such folder.
    """
    if not folder.is_dir():
        raise IntegrityError(f"{folder} must be a folder to be identified by its digest: nothing of the kind is "
                             "there; run `dvc repro` or `dvc pull` first")
    files = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(files)}


def folder_sha256(folder: Path) -> str:
    """One digest of a folder, over the relative paths and sha256 of its files: names count, times do not."""
    return canonical_sha256(folder_digests(folder))


def path_sha256(path: Path) -> str:
    """The digest of a file, or of a folder."""
    return folder_sha256(path) if path.is_dir() else file_sha256(path)


def stage_code(root: Path, stage: str) -> dict[str, str]:
    """{path: sha256} of the code files dvc.yaml lists as the stage's deps, sorted by path.

    Args:
        root: the folder of dvc.yaml; CODE_ROOT is that of the running code.
        stage: a stage's name.
    """
    return {name: file_sha256(root / name) for name in sorted(_deps(root, stage)) if _is_code(name)}


def stage_data(root: Path, stage: str, raw: Mapping[str, Any]) -> list[str]:
    """The data files and folders dvc.yaml lists as the stage's deps, as written there, sorted.

    A dep such as `${acquire.inputs}` stands for the value (or values) of that key of params.yaml, in `raw`.
    """
    names: list[str] = []
    for name in _deps(root, stage):
        if match := _TEMPLATE.match(name):
            value = _at(raw, match.group(1))
            names += [value] if isinstance(value, str) else list(value)
        elif name != LOCK_FILE and not _is_code(name):
            names.append(name)
    return sorted(names)


def stage_params(root: Path, stage: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """{key: value} of the parts of params.yaml that dvc.yaml says the stage reads."""
    return {key: _at(raw, key) for key in sorted(_stage(root, stage).get("params", []))}


def stage_outs(root: Path, stage: str) -> list[str]:
    """The files and folders dvc.yaml says the stage makes, as written there."""
    return [out if isinstance(out, str) else next(iter(out)) for out in _stage(root, stage).get("outs", [])]


def _is_code(name: str) -> bool:
    return name.endswith(".py")


def _deps(root: Path, stage: str) -> list[str]:
    """The stage's deps; an entry with options is a mapping of one path to them."""
    return [dep if isinstance(dep, str) else next(iter(dep)) for dep in _stage(root, stage).get("deps", [])]


def _stage(root: Path, stage: str) -> dict[str, Any]:
    file = root / "dvc.yaml"
    if not file.is_file():
        raise IntegrityError(f"{file} must exist, as it says what stage {stage} depends on: nothing is "
                             "there; run from the project's folder")
    stages = YAML(typ="safe").load(file).get("stages", {})
    if stage not in stages:
        raise IntegrityError(f"dvc.yaml must define stage {stage!r}: it has {sorted(stages)}; add it")
    found: dict[str, Any] = stages[stage]
    return found


def _at(raw: Mapping[str, Any], key: str) -> Any:
    value: Any = raw
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise IntegrityError(f"params.yaml must have {key}, as dvc.yaml names it: got no such key; add it")
        value = value[part]
    return value
