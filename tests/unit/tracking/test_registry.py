"""Moving an alias in a real MLflow database: once, with who had it before, and not behind anybody's back."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from filelock import FileLock, Timeout

from pipeline.errors import IntegrityError, ModelError, ParamsError
from pipeline.paths import Paths
from pipeline.tracking import registry
from pipeline.tracking.lookup import FoundVersion, looking
from pipeline.tracking.store import client, locate, session

NAME = "kumulus-test"

Times = Callable[..., None]


@pytest.fixture
def registered(paths: Paths) -> Paths:
    """Three versions without any alias."""
    store = locate(paths)
    found = client(store)
    with session(store):
        found.create_registered_model(NAME)
        for number in range(3):
            found.create_model_version(NAME, f"file:///nowhere/{number}", await_creation_for=0)
    return paths


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes between any two looks at the clock."""
    seconds = iter(range(60))
    monkeypatch.setattr(registry, "now", lambda: f"2030-01-01T00:00:{next(seconds):02d}+00:00")


def version(number: int) -> FoundVersion:
    return FoundVersion(NAME, str(number), (), {}, "", "")


def read(paths: Paths, number: int) -> FoundVersion:
    with looking(paths) as lookup:
        return lookup.version(f"models:/{NAME}/{number}")


def held(paths: Paths, number: int, alias: str = "champion") -> list[tuple[str, str]]:
    return [(entry.time[17:19], entry.before) for entry in registry.history(read(paths, number).tags, alias)]


@pytest.mark.usefixtures("clock")
def test_an_alias_moves_and_the_versions_remember(registered: Paths) -> None:
    assert registry.move(registered, version(1), "champion", "")
    assert read(registered, 1).aliases == ("champion",)
    assert registry.move(registered, version(2), "champion", "1")
    assert registry.move(registered, version(1), "champion", "2")
    assert read(registered, 1).aliases == ("champion",)
    assert read(registered, 2).aliases == ()
    assert held(registered, 1) == [("00", ""), ("02", "2")]
    assert held(registered, 2) == [("01", "1")]
    assert held(registered, 3) == []


@pytest.mark.usefixtures("clock")
def test_again_changes_nothing(registered: Paths) -> None:
    assert registry.move(registered, version(1), "champion", "")
    before = read(registered, 1)
    assert not registry.move(registered, version(1), "champion", "")
    assert not registry.move(registered, version(1), "champion", "1")
    assert read(registered, 1) == before


@pytest.mark.usefixtures("clock")
def test_aliases_have_their_own_histories(registered: Paths) -> None:
    assert registry.move(registered, version(1), "champion", "")
    assert registry.move(registered, version(1), "candidate", "")
    assert registry.move(registered, version(2), "candidate", "1")
    assert read(registered, 1).aliases == ("champion",)
    assert held(registered, 1, "candidate") == [("01", "")]
    assert held(registered, 2, "candidate") == [("02", "1")]
    assert held(registered, 2) == []


@pytest.mark.usefixtures("clock")
def test_what_moved_meanwhile_is_left_alone(registered: Paths) -> None:
    assert registry.move(registered, version(1), "champion", "")
    with pytest.raises(ModelError, match="it has moved from version none to 1; run this again"):
        registry.move(registered, version(2), "champion", "")
    assert read(registered, 1).aliases == ("champion",)
    assert held(registered, 2) == []


@pytest.mark.usefixtures("clock")
def test_nobody_of_this_repository_moves_it_between_the_look_and_the_move(
    registered: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    original, tried = MlflowClient.set_registered_model_alias, []

    def another_comes(*words: Any) -> None:
        with pytest.raises(Timeout):
            FileLock(registered.repository / ".kumulus/promote.lock", timeout=0).acquire()
        tried.append(words[1:])
        original(*words)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", another_comes)
    assert registry.move(registered, version(1), "champion", "")
    assert tried == [(NAME, "champion", "1")]


@pytest.mark.usefixtures("clock")
def test_another_machine_that_moves_it_at_once_is_told(registered: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    original = MlflowClient.set_registered_model_alias

    def overtaken(client: MlflowClient, name: str, alias: str, number: str) -> None:
        original(client, name, alias, number)
        original(client, name, alias, "3")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", overtaken)
    with pytest.raises(ModelError, match="version 3 has it and not 1, as somebody else moved it at the same time; run"):
        registry.move(registered, version(1), "champion", "")
    assert read(registered, 3).aliases == ("champion",)


@pytest.mark.usefixtures("clock")
def test_a_kill_between_history_and_alias_leaves_the_attempt_on_record(
    registered: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    assert registry.move(registered, version(1), "champion", "")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.move(registered, version(2), "champion", "1")
    assert read(registered, 1).aliases == ("champion",)
    assert held(registered, 2) == [("01", "1")]
    assert registry.move(registered, version(2), "champion", "1")
    assert held(registered, 2) == [("01", "1"), ("02", "1")]
    assert read(registered, 2).aliases == ("champion",)


@pytest.mark.usefixtures("clock")
def test_an_alias_that_was_removed_in_between_takes_no_entry_with_it(registered: Paths) -> None:
    assert registry.move(registered, version(1), "champion", "")
    client(locate(registered)).delete_registered_model_alias(version(1).name, "champion")
    assert registry.move(registered, version(1), "champion", "")
    assert held(registered, 1) == [("00", ""), ("01", "")]


@pytest.mark.parametrize("alias", ["latest", "v3", "Champion", "1st", "", "a b", "-x"])
def test_names_that_are_none(alias: str, paths: Paths) -> None:
    with pytest.raises(ParamsError, match=f"an alias must be small letters.*: got '{alias}'; name it champion"):
        registry.move(paths, version(1), alias, "")


@pytest.mark.parametrize("text", ["no json", "[1]", '[{"time": "x"}]', "3"])
def test_a_history_that_is_none(registered: Paths, text: str) -> None:
    with pytest.raises(IntegrityError, match=r"tag kumulus\.alias\.champion must be a list of times and versions"):
        registry.history({"kumulus.alias.champion": text}, "champion")


def test_a_history_is_a_tag_that_people_can_read(registered: Paths) -> None:
    registry.move(registered, version(2), "champion", "")
    (entry,) = json.loads(read(registered, 2).tags["kumulus.alias.champion"])
    assert entry.keys() == {"time", "before"}
    assert entry["time"].endswith("+00:00")


def test_a_server_that_is_away(paths: Paths, dead_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    with pytest.raises(ModelError, match=f"alias champion of {NAME} must be moved in MLflow at {dead_server}, which "
                                         "did not answer .*; start it and run this again"):
        registry.move(paths, version(1), "champion", "")


def test_a_model_that_is_not_there(paths: Paths) -> None:
    with pytest.raises(ModelError, match=f"alias champion of {NAME} must be one that MLflow at .* lets move"):
        registry.move(paths, version(1), "champion", "")
