"""Every way a result comes about is verified without a false alarm."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.lineage.identify import identify
from pipeline.lineage.verify import Report, Verdict, verify
from pipeline.paths import Paths
from tests.e2e.conftest import Repository, own_copy

MODEL = "models/export/model.onnx"
OTHER = ("--set-param", "export.registered_name=other")


@pytest.fixture(scope="module")
def repository(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy, whose run-cache knows nothing but the first run."""
    return own_copy(repository, tmp_path_factory.mktemp("verified") / "project")


@pytest.fixture
def repo(repository: Repository) -> Iterator[Repository]:
    """The copy after its first run; what a test does to it is taken back."""
    yield repository
    repository.call("git", "checkout", "--quiet", "--force", "main")
    repository.restore()
    repository.call("dvc", "checkout", "--force", "--quiet")


def verified(root: Path, target: Path | str = MODEL) -> Report:
    paths = Paths(root)
    return verify(identify(str(root / target), paths), paths, progress=False)


def holds(report: Report) -> bool:
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    assert not report.of(Verdict.CONTRADICTED)
    return True


def test_an_experiment_in_a_copy_and_applied(repo: Repository, tmp_path: Path) -> None:
    first = tmp_path / "first"
    shutil.copytree(repo.root / "models/export", first)
    output = repo.call("dvc", "exp", "run", "--temp", "--name", "aside", *OTHER)
    assert "Running stage 'export'" in output, "it is a run of its own, not one that the run-cache knew"
    assert holds(verified(repo.root))
    repo.call("dvc", "exp", "apply", "aside")
    assert (repo.root / "models/export/lineage.json").read_bytes() != (first / "lineage.json").read_bytes()
    assert holds(verified(repo.root))
    report = verified(repo.root, first / "model.onnx")  # the first build, while the workspace is about the experiment
    assert holds(report)
    assert "params" in {link.node for link in report.of(Verdict.MOVED_ON)}


def test_a_dirty_tree_on_a_detached_head(repo: Repository) -> None:
    repo.call("git", "checkout", "--quiet", "--detach")
    with (repo.root / "pipeline/exporters/polygons.py").open("a", encoding="utf-8") as file:
        file.write("\n# not committed\n")
    report = verified(repo.root)
    assert report.first_broken is not None, "an edit before the build is what dvc.lock does not name"
    assert report.first_broken.node == "code:pipeline/exporters/polygons.py"
    repo.call("dvc", "repro")
    report = verified(repo.root)
    assert holds(report)
    places = {link.place for link in report.links if link.node == "code:pipeline/exporters/polygons.py"}
    assert places == {"workspace"}


def test_what_the_run_cache_restored(repo: Repository) -> None:
    (repo.root / "dvc.lock").unlink()
    for folder in ("data", "models", "reports"):
        shutil.rmtree(repo.root / folder)
    output = repo.call("dvc", "repro")
    assert "Running stage" not in output
    assert holds(verified(repo.root))


def test_a_clone_before_and_after_a_pull(repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, clone = tmp_path / "store", tmp_path / "clone"
    shutil.copytree(repo.root / ".dvc/cache", store)
    repo.call("git", "clone", "--quiet", str(repo.root), str(clone))
    (clone / ".dvc/config.local").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {store}\n")
    sent = tmp_path / "sent"
    shutil.copytree(repo.root / "models/export", sent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/another.db")
    report = verified(clone, sent / "model.onnx")
    assert holds(report)
    assert "remote store" in {link.place for link in report.links if link.node.startswith("file:data/raw/")}
    there = Repository(clone, {**repo.environment, "DVC_SITE_CACHE_DIR": str(tmp_path / "site")})
    there.call("dvc", "pull", "--quiet")
    report = verified(clone)
    assert holds(report)
    told = [link for link in report.links if link.node == "run"]
    assert [link.verdict for link in told] == [Verdict.ABSENT]
    assert not told[0].counts
    assert not (tmp_path / "another.db").exists()
