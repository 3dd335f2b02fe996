"""Weights of an earlier training, fetched from MLflow as they were: members/<i>/, run.json and lineage.json.

What is fetched decides nothing by itself: the caller compares it with a digest that params.yaml pins.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ModelError
from pipeline.paths import Paths, staged_folder, write_json
from pipeline.tracking.delivery import MEMBER, RUN_KEY, STAGE
from pipeline.tracking.models import version_of
from pipeline.tracking.names import STATEMENT_FILE
from pipeline.tracking.store import RefusedError, Store, UnreachableError, client, locate, probe, session

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Where a training's run and a member's run keep the member's files.
_FOLDER = "train"
_FILES = ("weights.safetensors", "model.json")

#: What an export's run keeps of it.
_STATEMENT = f"export/{STATEMENT_FILE}"


def fetch(uri: str, folder: Path, paths: Paths) -> None:
    """Fetch a training's members into a new folder: members/<i>/weights.safetensors and model.json; run.json.

    The statement of its newest export comes along as lineage.json, where it was exported on that MLflow.

    Args:
        uri: `runs:/<id>` of a training or of one of its members, `runs:/<id>/<path>` where the two files lie
            elsewhere among the run's artifacts, `models:/name/version` or `models:/name@alias` for the training that
            a registered model was exported from.
        folder: made here, whole or not at all.
        paths: of the repository, whose MLflow is asked.

    Raises:
        ModelError: MLflow does not answer, or holds no such weights; the training is not finished there, or a member of
            it is missing.
    """
    store = locate(paths)
    try:
        probe(store)
        found = client(store)
        with session(store), tempfile.TemporaryDirectory() as scratch, staged_folder(folder) as staged:
            run, where = _run(found, uri)
            members = _members(found, run, where)
            for number, (run_id, path) in members.items():
                for name in _FILES:
                    target = staged / "members" / str(number) / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(_download(found, run_id, f"{path}/{name}", Path(scratch)), target)
            key = run.data.tags.get(RUN_KEY, "")
            write_json(staged / "run.json", {"key": key})
            if exports := _exports(found, key):
                shutil.move(_download(found, exports[0], _STATEMENT, Path(scratch)), staged / STATEMENT_FILE)
    except UnreachableError as error:
        raise ModelError(f"train.warm_start.uri {uri} must be fetched from MLflow at {store.shown}, which did not "
                         f"answer ({error}); start it, or give the path of a checkpoint") from error
    except RefusedError as error:
        raise ModelError(_unknown(uri, store, str(error))) from error


def _unknown(uri: str, store: Store, reason: str) -> str:
    return (f"train.warm_start.uri must name a training that MLflow at {store.shown} knows: {uri}: {reason}; "
            "see `kumulus ui` for its run's id, or give the path of a checkpoint")


def _run(mlflow_client: "MlflowClient", uri: str) -> tuple[Any, str]:
    """The run behind an address, and the path in it ("" where none is given)."""
    if uri.startswith("models:/"):
        key = version_of(mlflow_client, uri).tags.get(RUN_KEY, "")
        return _training(mlflow_client, key, uri), ""
    run_id, _, path = uri.removeprefix("runs:/").partition("/")
    return mlflow_client.get_run(run_id), path.strip("/")


def _training(mlflow_client: "MlflowClient", key: str, uri: str) -> Any:
    for run in _search(mlflow_client, {RUN_KEY: key, STAGE: "train"}):
        return run
    raise RefusedError(f"the run of the training it was exported from (key {key[:8] or 'unknown'}) is not there")


def _members(mlflow_client: "MlflowClient", run: Any, path: str) -> dict[int, tuple[str, str]]:
    """Run id and folder of every member's files, by number: of this run itself, or of its members' runs.

    A place of the user's own is number 0.

    Raises:
        RefusedError: the run keeps no weights, is not finished, or a member of it is not there.
    """
    run_id, tags = run.info.run_id, run.data.tags
    if path:
        return {0: (run_id, path)}
    if tags.get(STAGE) not in ("train", "member"):
        raise RefusedError(f"it is a run of stage {tags.get(STAGE, 'unknown')}, which keeps no weights")
    _refuse_unfinished(run, "it")
    if tags[STAGE] == "member":
        return {int(tags[MEMBER]): (run_id, _FOLDER)}
    found: dict[int, tuple[str, str]] = {}
    for child in _search(mlflow_client, {RUN_KEY: tags[RUN_KEY], STAGE: "member"}):  # newest first
        number = int(child.data.tags[MEMBER])
        if number not in found:
            _refuse_unfinished(child, f"its member {number}")
            found[number] = child.info.run_id, _FOLDER
    count = max(_planned(run), *(number + 1 for number in found), 1)
    if count == 1 and not found:
        return {0: (run_id, _FOLDER)}
    if missing := [number for number in range(count) if number not in found]:
        raise RefusedError(f"it must have a run for each of its {count} members: those of {missing} are not there "
                           "(`kumulus sync` sends what has not come)")
    return found


def _exports(mlflow_client: "MlflowClient", key: str) -> list[str]:
    """Ids of the runs of this training's exports that keep a statement, newest first."""
    folder = _STATEMENT.rpartition("/")[0]
    runs = _search(mlflow_client, {RUN_KEY: key, STAGE: "export"}) if key else []
    return [run.info.run_id for run in runs
            if _STATEMENT in {item.path for item in mlflow_client.list_artifacts(run.info.run_id, folder)}]


def _planned(run: Any) -> int:
    """How many members a training's run says it has; 0 where it says nothing."""
    params = run.data.params
    return int(params.get("train.folds", 0)) * max(1, len(json.loads(params.get("train.seeds", "[]"))))


def _refuse_unfinished(run: Any, subject: str) -> None:
    if run.info.status != "FINISHED":
        raise RefusedError(f"{subject} must be FINISHED, so that its weights are whole and final: it is "
                           f"{run.info.status}")


def _search(mlflow_client: "MlflowClient", tags: dict[str, str]) -> list[Any]:
    text = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    experiments = [experiment.experiment_id for experiment in mlflow_client.search_experiments()]
    return list(mlflow_client.search_runs(experiments, text, order_by=["attributes.start_time DESC"]))


def _download(mlflow_client: "MlflowClient", run_id: str, path: str, scratch: Path) -> str:
    if path not in {item.path for item in mlflow_client.list_artifacts(run_id, path.rpartition("/")[0])}:
        raise RefusedError(f"run {run_id} has no artifact {path}")
    return str(mlflow_client.download_artifacts(run_id, path, str(scratch)))
