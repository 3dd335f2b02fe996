"""lineage.json of a prediction: its maps, and by digest the scene and the model they came from. Imports no mlflow."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.digests import file_sha256
from pipeline.paths import Paths
from pipeline.tracking.environment import stage_environment
from pipeline.tracking.export_statement import descriptor, statement

BUILD_TYPE = "urn:kumulus:prediction:1"


def prediction_statement(
    scene: Path, model: Mapping[str, str], provenance: str, outputs: Iterable[Path], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The statement about predicted maps, as plain data; it names no place and no run.

    Args:
        scene: the scene's file.
        model: name and sha256 of the model.
        provenance: digest of the model's provenance.json, "" if it has none.
        outputs: finished files.
        settings: how the scene was read and tiled.

    Raises:
        IntegrityError: a file is missing.
    """
    return statement(
        BUILD_TYPE,
        {path.name: file_sha256(path) for path in outputs},
        {"params": dict(settings)},
        {"stages": {"predict": {"environment": stage_environment("predict", Paths())}}},
        [descriptor(model["name"], "model", {"sha256": model["sha256"]}),
         descriptor(scene.name, "scene", {"sha256": file_sha256(scene)})],
        {"provenance": {"sha256": provenance} if provenance else None},
        [],
    )
