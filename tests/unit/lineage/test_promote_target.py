"""Every way of naming a registered version, in a real MLflow database and a git repository made by hand."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError, ModelError
from pipeline.lineage.promote_target import find_version
from pipeline.paths import Paths
from pipeline.tracking.lookup import Lookup, looking
from pipeline.tracking.store import RefusedError, client, experiment_id, locate, session
from tests.git_call import git

NAME = "kumulus-test"
KEY, OTHER, TWICE, AWAY = "1" * 32, "2" * 32, "3" * 32, "4" * 32
PROVENANCE_JSON = b"{}\n"
PROVENANCE = hashlib.sha256(PROVENANCE_JSON).hexdigest()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run ids by name, and the folder under "root": trainings with one, no, or several exports."""
    root = tmp_path_factory.mktemp("registry")
    store = locate(Paths(root))
    found = client(store)
    ids = {"root": str(root)}
    with session(store):
        experiment = experiment_id(found, store)
        found.create_registered_model(NAME)

        def run(name: str, stage: str, key: str, **tags: str) -> None:
            tags = {"kumulus.stage": stage, "kumulus.run_key": key, **tags}
            made = found.create_run(experiment, tags={k: v for k, v in tags.items() if v})
            ids[name] = made.info.run_id
            if stage == "export":
                found.create_model_version(
                    NAME, f"file:///nowhere/{name}", made.info.run_id, await_creation_for=0,
                    tags={"kumulus.run_key": key, "kumulus.provenance": tags["kumulus.provenance"]})

        run("train", "train", KEY)
        run("evaluate", "evaluate", KEY)
        run("export", "export", KEY, **{"kumulus.provenance": PROVENANCE, "kumulus.dvc_experiment": "brave-fox"})
        run("again", "export", KEY, **{"kumulus.provenance": PROVENANCE})
        run("unexported", "train", OTHER)
        run("twice", "train", TWICE)
        run("first", "export", TWICE, **{"kumulus.provenance": "a"})
        run("second", "export", TWICE, **{"kumulus.provenance": "b", "kumulus.dvc_experiment": "calm-owl"})
        run("foreign", "", "")
        found.set_registered_model_alias(NAME, "champion", "3")
    return ids


@pytest.fixture(scope="module")
def lookup(runs: dict[str, str]) -> Iterator[Lookup]:
    with looking(Paths(Path(runs["root"]))) as opened:
        yield opened


Found = Callable[[str], str]


@pytest.fixture
def found(lookup: Lookup, tmp_path: Path) -> Found:
    """Number of the version that is meant in a folder that is no repository yet."""
    return lambda run: find_version(run, Paths(tmp_path), lookup).version


@pytest.mark.parametrize(("name", "version"), [
    ("train", "2"), ("evaluate", "2"), ("export", "1"), ("again", "2"), ("first", "3"), ("second", "4")])
def test_by_run(found: Found, runs: dict[str, str], name: str, version: str) -> None:
    assert found(runs[name]) == found(f"runs:/{runs[name]}") == version


def test_by_version_alias_and_key(found: Found) -> None:
    assert found(f"models:/{NAME}/1") == "1"
    assert found(f"models:/{NAME}@champion") == "3"
    assert found(KEY) == found(KEY[:8]) == "2"


def test_several_exports_are_for_the_user_to_choose_from(found: Found, runs: dict[str, str]) -> None:
    for target in (TWICE, runs["twice"], f"runs:/{runs['twice']}"):
        with pytest.raises(ModelError, match=f"exported several times.*one of models:/{NAME}/4, models:/{NAME}/3"):
            found(target)


def test_what_is_not_there(found: Found, runs: dict[str, str]) -> None:
    with pytest.raises(ModelError, match=r"must have come to a registered version: MLflow has none of it; .*kumulus s"):
        found(runs["unexported"])
    with pytest.raises(ModelError, match=r"must be a run that Kumulus made: it has no tag kumulus\.run_key"):
        found(runs["foreign"])
    for unknown in (AWAY, AWAY[:8], "no-such-experiment"):
        with pytest.raises(ModelError, match=f"an experiment of DVC: got '{unknown}', which is none"):
            found(unknown)


@pytest.mark.parametrize("target", [
    f"models:/{NAME}/9", f"models:/{NAME}@nobody", f"runs:/{AWAY}", "models:/other/1", "models:/x"])
def test_what_mlflow_does_not_know(runs: dict[str, str], target: str) -> None:
    root = Paths(Path(runs["root"]))
    with pytest.raises(RefusedError), looking(root) as opened:
        find_version(target, root, opened)


def test_an_experiment_without_a_commit_by_the_tag_of_its_run(found: Found) -> None:
    assert found("brave-fox") == "1"
    assert found("calm-owl") == "4"


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """An experiment `restored`, whose export is in DVC's cache; MLflow knows no run of that name."""
    listing = json.dumps([{"md5": hashlib.md5(PROVENANCE_JSON).hexdigest(), "relpath": "provenance.json"}]).encode()
    for data, suffix in ((PROVENANCE_JSON, ""), (listing, ".dir")):
        md5 = hashlib.md5(data).hexdigest()
        file = tmp_path / ".dvc/cache/files/md5" / md5[:2] / f"{md5[2:]}{suffix}"
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
    (tmp_path / ".dvc/config").write_text("")
    (tmp_path / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  export:\n    cmd: x\n    outs:\n    - path: models/export\n      md5: "
        f"{hashlib.md5(listing).hexdigest()}.dir\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "dvc.lock")
    git(tmp_path, "commit", "--quiet", "--message", "x")
    git(tmp_path, "update-ref", "refs/exps/ab/cdef/restored", "HEAD")
    return tmp_path


@pytest.mark.usefixtures("experiment")
def test_an_experiment_by_what_its_commit_exported(found: Found) -> None:
    assert found("restored") == "2"


def test_an_experiment_whose_export_is_gone(found: Found, experiment: Path) -> None:
    shutil.rmtree(experiment / ".dvc/cache")
    with pytest.raises(IntegrityError, match="restored must have its models/export in DVC's cache or a remote"):
        found("restored")
