"""Which MLflow is meant, and whether it answers."""

import socket
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.errors import ModelError
from pipeline.paths import Paths
from pipeline.tracking.models import download
from pipeline.tracking.store import (
    RefusedError,
    Store,
    UnreachableError,
    client,
    experiment_id,
    locate,
    probe,
    session,
)


def test_the_default_is_a_database_at_the_real_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert locate(Paths(tmp_path)) == Store(f"sqlite:///{tmp_path}/mlflow.db", f"{tmp_path}/mlartifacts")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "real"))
    assert locate(Paths(tmp_path / "copy")).uri == f"sqlite:///{tmp_path}/real/mlflow.db"


@pytest.mark.parametrize(("uri", "resolved", "artifacts"), [
    ("http://127.0.0.1:5000", "http://127.0.0.1:5000", ""),
    ("sqlite:///runs/a.db", "sqlite:///{root}/runs/a.db", "{root}/runs/mlartifacts"),
    ("sqlite:////x/a.db", "sqlite:////x/a.db", "/x/mlartifacts"),
    ("postgresql://u@h/db", "postgresql://u@h/db", "{root}/mlartifacts"),
])
def test_the_environment_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, resolved: str, artifacts: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    expected = Store(resolved.format(root=tmp_path), artifacts.format(root=tmp_path))
    assert locate(Paths(tmp_path)) == expected


def test_messages_show_no_password() -> None:
    assert Store("http://me:secret@host:5000/x", "").shown == "http://host:5000/x"
    assert Store("sqlite:////a/b.db", "").shown == "sqlite:////a/b.db"


def test_a_closed_port_does_not_answer(dead_server: str) -> None:
    for uri in (dead_server, dead_server.replace("http", "postgresql")):
        with pytest.raises(UnreachableError, match="refused"):
            probe(Store(uri, ""))


@pytest.mark.parametrize(("status", "answers"), [(200, True), (404, True), (401, True), (503, False)])
def test_any_word_of_the_server_itself_is_an_answer(status: int, answers: bool) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        store = Store(f"http://127.0.0.1:{server.server_port}", "")
        if answers:
            probe(store)
        else:
            with pytest.raises(UnreachableError, match="503"):
                probe(store)
        thread.join()


def test_a_port_that_is_silent_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tracking.store._PROBE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(UnreachableError, match="timed out"):
        probe(Store(f"http://127.0.0.1:{server.getsockname()[1]}", ""))


def test_an_outdated_database_is_migrated(paths: Paths) -> None:
    with sqlite3.connect(paths.root / "mlflow.db") as database:
        head = database.execute("select version_num from alembic_version").fetchone()
    database.close()
    _downgrade(paths)
    assert client(locate(paths)).get_experiment_by_name("none") is None
    with sqlite3.connect(paths.root / "mlflow.db") as database:
        assert database.execute("select version_num from alembic_version").fetchone() == head
    database.close()


def test_a_deleted_experiment_is_refused(paths: Paths) -> None:
    store = locate(paths)
    mlflow_client = client(store)
    first = experiment_id(mlflow_client, store)
    assert experiment_id(mlflow_client, store) == first
    assert mlflow_client.get_experiment(first).artifact_location == f"{paths.root}/mlartifacts"
    mlflow_client.delete_experiment(first)
    with pytest.raises(RefusedError, match="was deleted; restore it"):
        experiment_id(mlflow_client, store)


def test_errors_of_mlflow_say_whether_to_try_again(paths: Paths) -> None:
    mlflow_client = client(locate(paths))
    with pytest.raises(RefusedError, match="not found"), session(locate(paths)):
        mlflow_client.get_run("0" * 32)
    with pytest.raises(UnreachableError, match="reset"), session(locate(paths)):
        raise ConnectionError("reset")


def test_a_model_that_is_not_there_is_an_error_of_one_line(
    paths: Paths, dead_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="models:/none/1 must be a model that MLflow at sqlite"):
        download("models:/none/1", paths)
    with pytest.raises(ModelError, match=r"must read models:/name/version"):
        download("models:/none", paths)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    with pytest.raises(ModelError, match="did not answer"):
        download("models:/none/1", paths)


def _downgrade(paths: Paths) -> None:
    """To the schema before the newest, as an older mlflow leaves it."""
    import logging
    import warnings

    from alembic import command
    from mlflow.store.db import utils

    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = utils.create_sqlalchemy_engine(locate(paths).uri)
        config = utils._get_alembic_config(str(engine.url))
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "-1")
        engine.dispose()
    logging.disable(logging.NOTSET)
