"""Where MLflow is, whether it answers, and a client for it that is quiet, offline and quick to give up.

`MLFLOW_TRACKING_URI` is respected. Without it runs go to mlflow.db and mlartifacts/ at the real repository,
also when DVC runs a copy of it.
"""

import contextlib
import importlib
import logging
import os
import socket
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

from pipeline.errors import KumulusError
from pipeline.paths import Paths

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "kumulus"

#: What mlflow reads from the environment: no telemetry, bars or git; seconds, not minutes, for a dead server.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}

_PROBE_S = 3.0
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
#: Error codes that say "this request is wrong", so that trying again is of no use.
_REFUSALS = frozenset({
    "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS",
    "INVALID_STATE", "PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "ENDPOINT_NOT_FOUND",
    "NOT_FOUND", "NOT_IMPLEMENTED",
})


class UnreachableError(KumulusError):
    """MLflow does not answer now; later it may."""


class RefusedError(KumulusError):
    """MLflow answers and will not take what it is sent."""


@dataclass(frozen=True)
class Store:
    """One MLflow: its URI, and where artifacts go ("" where the server decides)."""

    uri: str
    artifacts: str

    @property
    def is_server(self) -> bool:
        """Whether MLflow is spoken to over HTTP, rather than through its database."""
        return urlsplit(self.uri).scheme in ("http", "https")

    @property
    def shown(self) -> str:
        """The URI without a password, for messages."""
        parts = urlsplit(self.uri)
        if not parts.password:
            return self.uri
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def locate(paths: Paths) -> Store:
    """The MLflow that MLFLOW_TRACKING_URI names, or the one at the repository (to which paths are relative)."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if urlsplit(uri).scheme in ("http", "https"):
        return Store(uri, "")
    if (file := sqlite_file(uri)) is None:
        return Store(uri, str(paths.repository / "mlartifacts"))
    database = paths.repository / file
    return Store(f"sqlite:///{database}", str(database.parent / "mlartifacts"))


def probe(store: Store) -> None:
    """Ask within seconds whether anything answers, without importing mlflow.

    Raises:
        UnreachableError: nothing does.
    """
    parts = urlsplit(store.uri)
    try:
        if parts.scheme in ("http", "https"):
            urllib.request.urlopen(store.uri.rstrip("/") + "/health", timeout=_PROBE_S).close()
        elif parts.hostname and (port := parts.port or _DATABASE_PORTS.get(parts.scheme.partition("+")[0])):
            socket.create_connection((parts.hostname, port), timeout=_PROBE_S).close()
    except urllib.error.HTTPError as error:
        if error.code in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
            raise UnreachableError(f"HTTP status {error.code}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):
            raise UnreachableError(str(reason)) from error


@contextlib.contextmanager
def session(store: Store) -> Iterator[None]:
    """Around all calls of mlflow: keep it quiet, turn what it raises into UnreachableError or RefusedError.

    A client does not say enough about which store is meant: mlflow's model registry asks the environment.
    """
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    before = logging.root.manager.disable
    uri_before = os.environ.get("MLFLOW_TRACKING_URI")
    logging.disable(max(before, logging.WARNING))
    os.environ["MLFLOW_TRACKING_URI"] = store.uri
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MlflowException as error:
        kind = RefusedError if error.error_code in _REFUSALS else UnreachableError
        raise kind(_first_line(error)) from error
    except (OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise UnreachableError(_first_line(error)) from error
    finally:
        logging.disable(before)
        if uri_before is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = uri_before


def client(store: Store) -> "MlflowClient":
    """A client for a store that answers; the first makes or migrates a sqlite database, under a file lock.

    Raises:
        UnreachableError: the store does not answer.
        RefusedError: it answers with an error.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient  # seconds, so only after a probe
    with session(store):
        if (file := sqlite_file(store.uri)) is not None:
            _migrate(store.uri, file)
        registry = os.environ.get("MLFLOW_REGISTRY_URI") or store.uri
        return MlflowClient(tracking_uri=store.uri, registry_uri=registry)


def experiment_id(mlflow_client: "MlflowClient", store: Store) -> str:
    """The id of the experiment that holds all runs, which is created if there is none.

    Raises:
        RefusedError: it was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = mlflow_client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            return str(mlflow_client.create_experiment(EXPERIMENT, artifact_location=store.artifacts or None))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = mlflow_client.get_experiment_by_name(EXPERIMENT)
    if found is None or found.lifecycle_stage != "active":
        raise RefusedError(f"experiment {EXPERIMENT!r} must be active: it was deleted; restore it in MLflow")
    return str(found.experiment_id)


def _migrate(uri: str, file: Path) -> None:
    """Bring a sqlite database to the schema of this mlflow, or create it; one process at a time."""
    utils: Any = importlib.import_module("mlflow.store.db.utils")  # untyped; as `mlflow db upgrade` does
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        engine = utils.create_sqlalchemy_engine(uri)
        try:
            if utils._is_empty_database(engine):
                utils._initialize_tables(engine)
            elif utils._get_schema_version(engine) != utils._get_latest_schema_revision():
                utils._upgrade_db(engine)
        finally:
            engine.dispose()


def sqlite_file(uri: str) -> Path | None:
    """The file of a sqlite URI; None for any other."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
