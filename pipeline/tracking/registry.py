"""Aliases of a registered model: moving one to a version, with a history that stays on the versions.

MLflow has no way to move an alias only if it is where one thinks: promotions of one repository wait for each other, and
what is read after moving must be what was written. Between two machines that share a server a gap of milliseconds is
left, in which one of two promotions is told so, or the later one wins.

Each version that was given an alias keeps the tag `kumulus.alias.<alias>`: a JSON list, one entry a time, of when that
was and which version had the alias before. An entry whose successor has the same `before` may be an attempt that was
cut off; none is ever taken out, since an alias that was removed in between leaves the same trace.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from filelock import FileLock

from pipeline.errors import IntegrityError, ModelError, ParamsError
from pipeline.paths import Paths
from pipeline.tracking.lookup import FoundVersion
from pipeline.tracking.moment import now
from pipeline.tracking.store import RefusedError, UnreachableError, client, locate, probe, session

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Names that MLflow takes, without "latest" and version numbers, which it keeps for itself.
_ALIAS = re.compile(r"^(?!latest$)(?!v[0-9]+$)[a-z][a-z0-9_-]{0,63}$")


@dataclass(frozen=True)
class Held:
    """A time at which a version was given an alias."""

    #: UTC, ISO 8601.
    time: str
    #: Number of the version that had the alias before; "" where none did.
    before: str


def check_alias(alias: str) -> None:
    """Refuse a name that cannot be an alias.

    Raises:
        ParamsError: it cannot.
    """
    if not _ALIAS.match(alias):
        raise ParamsError("an alias must be small letters, digits, - and _, beginning with a letter, and neither "
                          f"latest nor a version such as v1: got {alias!r}; name it champion or candidate")


def history(tags: Mapping[str, str], alias: str) -> tuple[Held, ...]:
    """The times at which the version with these tags was given an alias, oldest first.

    Raises:
        IntegrityError: the tag is not what `move` writes.
    """
    text = tags.get(_tag(alias), "[]")
    try:
        return tuple(Held(str(entry["time"]), str(entry["before"])) for entry in json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"tag {_tag(alias)} must be a list of times and versions: got {text[:100]!r}; set it to "
                             "[] in MLflow") from error


def move(paths: Paths, version: FoundVersion, alias: str, expected: str) -> bool:
    """Give an alias to a version, and put on the version when that was and who had it before.

    The history is written first, so that no alias is without one; a kill in between leaves an entry of an attempt.

    Args:
        paths: the repository, whose MLflow is asked.
        version: of whichever model.
        alias: such as champion.
        expected: number of the version that has the alias as far as the caller knows; "" for none.

    Returns:
        False where the version has it already, and nothing is written.

    Raises:
        ParamsError: the alias is no name for one.
        ModelError: MLflow does not answer, or refuses; somebody else has moved the alias meanwhile.
    """
    check_alias(alias)
    store = locate(paths)
    subject = f"alias {alias} of {version.name}"
    lock = paths.repository / ".kumulus/promote.lock"
    lock.parent.mkdir(exist_ok=True)
    try:
        probe(store)
        found = client(store)
        with FileLock(lock), session(store):
            return _move(found, version, alias, expected, subject)
    except UnreachableError as error:
        raise ModelError(f"{subject} must be moved in MLflow at {store.shown}, which did not answer ({error}); start "
                         "it and run this again") from error
    except RefusedError as error:
        raise ModelError(f"{subject} must be one that MLflow at {store.shown} lets move: {error}; see whether you may "
                         "write there") from error


def _move(mlflow_client: "MlflowClient", version: FoundVersion, alias: str, expected: str, subject: str) -> bool:
    holder = _holder(mlflow_client, version.name, alias)
    if holder == version.version:
        return False
    if holder != expected:
        raise ModelError(f"{subject} must be where it was when the two were compared: it has moved from version "
                         f"{expected or 'none'} to {holder or 'none'}; run this again")
    held = history(mlflow_client.get_model_version(version.name, version.version).tags, alias)
    entries = json.dumps([asdict(entry) for entry in (*held, Held(now(), holder))])
    mlflow_client.set_model_version_tag(version.name, version.version, _tag(alias), entries)
    mlflow_client.set_registered_model_alias(version.name, alias, version.version)
    if (after := _holder(mlflow_client, version.name, alias)) != version.version:
        raise ModelError(f"{subject} must stay where it was moved to: version {after or 'none'} has it and not "
                         f"{version.version}, as somebody else moved it at the same time; run this again")
    return True


def _holder(mlflow_client: "MlflowClient", name: str, alias: str) -> str:
    return str(mlflow_client.get_registered_model(name).aliases.get(alias, ""))


def _tag(alias: str) -> str:
    return f"kumulus.alias.{alias}"
