"""provenance.json names every file by its digest, and nothing of place, time or run."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.tracking.provenance import SCORES, STAGES, provenance, write_provenance

FOLDERS = {"raw": "data/raw", "labels": "data/labels", "scenes": "data/scenes", "splits": "data/splits",
           "checkpoint": "models/checkpoint"}


def params(seed: int = 1) -> Params:
    return Params({"seed": seed, "task": {"bands": ["red"], "background": "a", "classes": [
        {"name": "a", "color": "#000000"}, {"name": "b", "color": "#ffffff"}]}})


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a file in every artifact folder and two code files, of which train lists both."""
    for folder in FOLDERS.values():
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub/file.txt").write_text(folder)
    (tmp_path / "reports/evaluate").mkdir(parents=True)
    for name in SCORES:
        (tmp_path / "reports/evaluate" / name).write_text(name)
    (tmp_path / "data/raw/catalog.json").write_text('{"source": "synthetic", "scenes": []}')
    (tmp_path / "code.py").write_text("one")
    (tmp_path / "more.py").write_text("two")
    (tmp_path / "requirements.lock").write_text("lock")
    more = {"train": ", more.py"}
    stages = "".join(f"  {s}:\n    cmd: x\n    deps: [code.py, requirements.lock, data/raw{more.get(s, '')}]\n"
                     for s in STAGES)
    (tmp_path / "dvc.yaml").write_text("stages:\n" + stages)
    return tmp_path


def test_names_every_file_by_its_digest(project: Path) -> None:
    statement = provenance(params(), Paths(project), project)
    assert statement["data"]["files"]["splits"] == {"sub/file.txt": sha256("data/splits")}
    assert set(statement["data"]["files"]) == set(FOLDERS)
    assert set(statement["data"]["files"]["raw"]) == {"catalog.json", "sub/file.txt"}
    assert statement["data"]["catalog"] == {"source": "synthetic", "scenes": []}
    assert statement["evaluate"] == {name: sha256(name) for name in ("confusions.parquet", "metrics.json")}
    assert statement["code"]["train"] == {"code.py": sha256("one"), "more.py": sha256("two")}
    assert statement["code"]["export"] == {"code.py": sha256("one")}
    assert statement["lock"] == sha256("lock")
    assert statement["params"] == params().dump()
    assert statement["environment"]["training"] == {"accelerator": "auto", "devices": 1, "precision": "32-true",
                                                    "threads": 2}


def test_names_the_weights_that_members_started_from(project: Path) -> None:
    assert "warm_start" not in provenance(params(), Paths(project), project)
    for member, digest in {"0": "ab" * 32, "1": "cd" * 32, "2": ""}.items():
        folder = project / "models/checkpoint/members" / member
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(json.dumps({"warm_start": digest}))
    statement = provenance(params(), Paths(project), project)
    assert statement["warm_start"] == {"0": "ab" * 32, "1": "cd" * 32}


def test_says_nothing_of_place_time_or_run(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(project, other)
    (other / "models/run.json").write_text('{"key": "k"}')
    written = []
    for root in (project, other):
        digest = write_provenance(root / "provenance.json", provenance(params(), Paths(root), root))
        text = (root / "provenance.json").read_text()
        written.append(text)
        assert digest == sha256(text)
        assert str(root) not in text
    assert written[0] == written[1]


@pytest.mark.parametrize("changed", ["data/labels/sub/file.txt", "more.py", "requirements.lock",
                                     "models/checkpoint/new", "reports/evaluate/metrics.json"])
def test_any_changed_byte_changes_the_digest(project: Path, changed: str) -> None:
    digests = []
    for _ in range(2):
        digests.append(write_provenance(project / "p.json", provenance(params(), Paths(project), project)))
        (project / changed).write_text("changed")
    assert digests[0] != digests[1]
    assert digests[0] != write_provenance(project / "p.json", provenance(params(2), Paths(project), project))


@pytest.mark.parametrize(("missing", "said"), [
    ("data/raw/catalog.json", "must say where the data came from: not found; run `dvc repro acquire`"),
    ("data/labels", "data/labels must be a folder"),
    ("models/checkpoint", "models/checkpoint must be a folder"),
    ("reports/evaluate/confusions.parquet", "confusions.parquet must be a file"),
    ("more.py", "more.py must be a file"),
    ("requirements.lock", "requirements.lock must be a file"),
    ("dvc.yaml", "dvc.yaml must exist"),
])
def test_what_is_missing_is_said(project: Path, missing: str, said: str) -> None:
    path = project / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(IntegrityError, match=said):
        provenance(params(), Paths(project), project)


def test_is_valid_json_with_sorted_keys(project: Path) -> None:
    write_provenance(project / "p.json", provenance(params(), Paths(project), project))
    text = (project / "p.json").read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
