"""The model registry: versions of the exported ONNX file, byte for byte, and their way back."""

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.digests import canonical_sha256
from pipeline.errors import ModelError
from pipeline.paths import Paths, staged_folder
from pipeline.tracking.journal import Journal
from pipeline.tracking.store import RefusedError, UnreachableError, client, locate, probe, session
from pipeline.types import RunLog

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Tag of a model version: the journal event that made it.
EVENT = "kumulus.event"

#: How the source of a version made from a logged model begins; the model's id follows.
LOGGED = "models:/"
_REF = re.compile(r"^models:/(?P<name>[^/@]+)(/(?P<version>[0-9]+)|@(?P<alias>[^/@]+))$")


def register_onnx(
    log: RunLog,
    model_path: Path,
    name: str,
    bands: Sequence[str],
    classes: Sequence[str],
    tags: Mapping[str, str],
) -> None:
    """Have an ONNX segmentation model logged with its signature and registered as a new version of `name`.

    Args:
        log: the run that exports it; a log that keeps nothing registers nothing.
        model_path: the file; its bytes are kept as they are.
        name: of the registered model.
        bands: channels of the input in order, float32 (N, channels, H, W).
        classes: of the output, float32 probabilities (N, classes, H, W).
        tags: of the version, such as kumulus.provenance; kumulus.run_key is added.

    Raises:
        IntegrityError: there is no such file.
    """
    if isinstance(log, Journal):
        log.model(model_path, name, list(bands), list(classes), tags)


def download(ref: str, paths: Paths | None = None) -> Path:
    """Fetch the ONNX file of `models:/name/version`, `models:/name@alias` or `runs:/id/path` from MLflow.

    Returns:
        The local file, below .kumulus/models/ of the repository; a later call for the same replaces it.

    Raises:
        ModelError: MLflow does not answer, knows no such reference, or it holds not exactly one .onnx file.
    """
    paths = paths or Paths()
    store = locate(paths)
    target = paths.repository / ".kumulus/models" / canonical_sha256(ref)[:16]
    try:
        probe(store)
        found = client(store)
        with session(store), tempfile.TemporaryDirectory() as scratch:
            from mlflow.artifacts import download_artifacts

            where = location(found, ref)
            fetched = Path(download_artifacts(where, dst_path=scratch, tracking_uri=store.uri))
            files = [fetched] if fetched.is_file() else sorted(fetched.rglob("*.onnx"))
            if len(files) != 1 or files[0].suffix != ".onnx":
                raise ModelError(f"{ref} must hold exactly one .onnx file: got {[f.name for f in files]}; "
                                 "name another model")
            with staged_folder(target) as folder:
                shutil.copyfile(files[0], folder / files[0].name)
            return target / files[0].name
    except UnreachableError as error:
        raise ModelError(f"{ref} must be fetched from MLflow at {store.shown}, which did not answer "
                         f"({error}); start it, or give the path of an .onnx file") from error
    except (RefusedError, OSError) as error:
        raise ModelError(f"{ref} must be a model that MLflow at {store.shown} knows: {error}; "
                         "name another, or give the path of an .onnx file") from error


def location(mlflow_client: "MlflowClient", ref: str) -> str:
    """The artifact URI behind a reference (mlflow's own resolver asks a global registry)."""
    if ref.startswith("runs:/"):
        return ref
    found = version_of(mlflow_client, ref)
    source = str(found.source)
    if not source.startswith(LOGGED):
        return str(mlflow_client.get_model_version_download_uri(found.name, found.version))
    return str(mlflow_client.get_logged_model(source.removeprefix(LOGGED)).artifact_location)


def version_of(mlflow_client: "MlflowClient", ref: str) -> Any:
    """The model version behind `models:/name/version` or `models:/name@alias`.

    Raises:
        RefusedError: the reference reads otherwise.
    """
    match = _REF.match(ref)
    if match is None:
        raise RefusedError("it must read models:/name/version, models:/name@alias or runs:/id/path")
    name, version, alias = match.group("name", "version", "alias")
    if alias:
        return mlflow_client.get_model_version_by_alias(name, alias)
    return mlflow_client.get_model_version(name, version)


def create(mlflow_client: "MlflowClient", experiment_id: str, run_id: str, fields: Mapping[str, Any]) -> str:
    """Begin a logged model of a run; its id."""
    logged = mlflow_client.create_logged_model(
        experiment_id, name=Path(fields["file"]).stem, source_run_id=run_id, model_type="segmentation",
        tags={"sha256": fields["sha256"], **fields["tags"]})
    return str(logged.model_id)


def register(
    mlflow_client: "MlflowClient",
    run_id: str,
    model_id: str,
    file: Path,
    fields: Mapping[str, Any],
    event_id: str,
) -> None:
    """Upload the model's files and make the version; what an earlier attempt has done is not done again."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    name = fields["name"]
    try:
        mlflow_client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise
    versions = mlflow_client.search_model_versions(f"name = '{name}'")
    if any(version.tags.get(EVENT) == event_id for version in versions):
        return
    logged = mlflow_client.get_logged_model(model_id)
    if str(logged.status) != "READY":
        with tempfile.TemporaryDirectory() as folder:
            _write_model(Path(folder), logged.artifact_location, run_id, model_id, file, fields)
            mlflow_client.log_model_artifacts(model_id, folder)
        mlflow_client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        mlflow_client.finalize_logged_model(model_id, "READY")
    run_key = mlflow_client.get_run(run_id).data.tags["kumulus.run_key"]
    tags = {**fields["tags"], "kumulus.run_key": run_key, EVENT: event_id}
    mlflow_client.create_model_version(
        name, LOGGED + model_id, run_id, tags, model_id=model_id, await_creation_for=0)


def _write_model(
    folder: Path, location: str, run_id: str, model_id: str, file: Path, fields: Mapping[str, Any]
) -> None:
    """A model folder in MLflow's onnx flavour around the file as it is (mlflow.onnx would encode it anew)."""
    import mlflow.pyfunc
    from mlflow.models import Model

    data = "model.onnx"
    model = Model(artifact_path=location, run_id=run_id, model_uuid=model_id, model_id=model_id)
    model.signature = _signature(len(fields["bands"]), len(fields["classes"]))
    model.metadata = {"bands": fields["bands"], "classes": fields["classes"], "sha256": fields["sha256"]}
    mlflow.pyfunc.add_to_model(model, loader_module="mlflow.onnx", data=data)
    model.add_flavor("onnx", data=data, providers=["CPUExecutionProvider"], code=None)
    shutil.copyfile(file, folder / data)
    (folder / "requirements.txt").write_text("mlflow\nonnx\nonnxruntime\n", encoding="utf-8")
    model.save(str(folder / "MLmodel"))


def _signature(bands: int, classes: int) -> Any:
    """float32 (N, bands, H, W) to float32 (N, classes, H, W)."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    kind = np.dtype(np.float32)
    return ModelSignature(Schema([TensorSpec(kind, (-1, bands, -1, -1), "image")]),
                          Schema([TensorSpec(kind, (-1, classes, -1, -1), "probabilities")]))
