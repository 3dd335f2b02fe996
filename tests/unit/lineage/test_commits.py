"""The commit of a result is found by bytes, wherever it hangs, and what was never committed is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.lineage.commits import find_commit, params_judge
from pipeline.params.load import Params
from pipeline.tracking.statement import Statement
from tests.unit.lineage.small_repo import Repo


@pytest.fixture
def repo(tmp_path: Path, small_params: Callable[..., dict[str, Any]]) -> Repo:
    return Repo(tmp_path / "repo", small_params())


def lock(md5: str) -> str:
    return f"schema: '2.0'\nstages:\n  acquire:\n    outs:\n    - path: data/raw\n      md5: {md5}\n"


def test_a_result_from_before_its_commit_is_found_in_a_descendant(repo: Repo) -> None:
    first = repo.commit()
    repo.write({"pipeline/a.py": "a = 2\n"})
    statement = repo.statement(first)  # made in a dirty tree, whose HEAD was the first
    second = repo.commit()
    repo.write({"pipeline/a.py": "a = 3\n"})
    repo.commit()
    match = find_commit(statement, repo.root).match
    assert match is not None
    assert match.commit == second


def test_the_recorded_commit_comes_first(repo: Repo) -> None:
    first = repo.commit()
    repo.write({"README.md": "later\n"})
    repo.commit()
    search = find_commit(repo.statement(first), repo.root)
    assert search.match is not None
    assert (search.match.commit, search.match.place) == (first, "the recorded commit")
    assert search.candidates == 2


def test_a_commit_whose_lock_names_the_artifacts_is_preferred(repo: Repo) -> None:
    first = repo.commit()
    repo.write({"dvc.lock": lock("1.dir")})
    second = repo.commit()
    repo.write({"dvc.lock": lock("2.dir")})
    repo.commit()
    match = find_commit(repo.statement(first, "1.dir"), repo.root).match
    assert match is not None
    assert (match.commit, match.claims) == (second, True)
    other = find_commit(repo.statement(first, "3.dir"), repo.root).match
    assert other is not None
    assert (other.commit, other.claims) == (first, False)


def test_an_experiment_is_found_by_its_ref(repo: Repo) -> None:
    base = repo.commit()
    repo.params["train"]["epochs"] = 7
    repo.write_params()
    statement = repo.statement(base)
    experiment = repo.commit()
    repo.git("update-ref", "refs/exps/ab/cdef/named", experiment)
    repo.git("reset", "--quiet", "--hard", base)
    match = find_commit(statement, repo.root).match
    assert match is not None
    assert (match.commit, match.place) == (experiment, "experiment named")


def test_a_detached_head_that_no_branch_leads_to_is_found(repo: Repo) -> None:
    repo.commit()
    repo.git("checkout", "--quiet", "--detach")
    repo.write({"pipeline/a.py": "a = 2\n"})
    statement, detached = repo.statement(), repo.commit()
    search = find_commit(statement, repo.root)
    assert search.match is not None
    assert search.match.commit == detached
    repo.git("checkout", "--quiet", "main")  # now only the reflog knows it
    search = find_commit(statement, repo.root)
    assert search.match is not None
    assert search.match.commit == detached


def test_a_project_in_a_folder_of_a_larger_repository(tmp_path: Path,
                                                      small_params: Callable[..., dict[str, Any]]) -> None:
    repo = Repo(tmp_path / "repo", small_params(), "maps/north")
    commit = repo.commit()
    match = find_commit(repo.statement(commit), repo.root).match
    assert match is not None
    assert match.commit == commit


@pytest.mark.parametrize("name", ["pipeline/geo/b.py", "requirements.lock", "dvc.yaml"])
def test_what_was_never_committed_is_named(repo: Repo, name: str) -> None:
    head = repo.commit()
    repo.write({name: "changed: 2\n"})
    statement = repo.statement(head)
    repo.git("checkout", "--quiet", ".")
    search = find_commit(statement, repo.root)
    assert search.match is None
    assert search.never == (name,)
    assert search.nearest == head
    assert search.differing == (name,)
    assert search.reason.startswith(f"{name} was never committed as this result was made with it (1 commits looked at)")


def test_params_that_no_commit_has_are_named(repo: Repo) -> None:
    head = repo.commit()
    repo.params["train"]["epochs"] = 7
    search = find_commit(repo.statement(head), repo.root)
    assert search.match is None
    assert search.never == ("params.yaml",)


def test_files_that_were_committed_but_never_together(repo: Repo) -> None:
    repo.write({"pipeline/a.py": "a = 2\n"})
    repo.commit()
    repo.write({"pipeline/a.py": "a = 1\n", "pipeline/geo/b.py": "b = 2\n"})
    head = repo.commit()
    repo.write({"pipeline/a.py": "a = 2\n"})
    search = find_commit(repo.statement(head), repo.root)
    assert search.match is None
    assert search.never == ()
    assert search.reason == (f"no single commit of 2 holds this result's code, lock and params together; {head[:9]} "
                             "comes nearest and differs in pipeline/a.py")


def test_outside_of_git_the_reason_is_gits_own(tmp_path: Path, repo: Repo) -> None:
    search = find_commit(repo.statement(), tmp_path)
    assert search.match is None
    assert "not a git repository" in search.reason


def test_a_statement_without_blob_ids_cannot_be_searched_for(repo: Repo) -> None:
    repo.commit()
    bare = Statement("export", "", {}, (), {}, {}, "", {}, None, False, "", (), (), "", {})
    assert "names no code" in find_commit(bare, repo.root).reason


def test_searching_writes_nothing(repo: Repo) -> None:
    repo.commit()
    before = {path: path.stat().st_mtime_ns for path in repo.top.rglob("*")}
    find_commit(repo.statement(), repo.root)
    assert {path: path.stat().st_mtime_ns for path in repo.top.rglob("*")} == before


class TestParams:
    """Values count, not bytes."""

    @pytest.fixture
    def raw(self, small_params: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        return small_params()

    def text(self, raw: dict[str, Any], path: Path) -> str:
        with path.open("w", encoding="utf-8") as file:
            YAML().dump(raw, file)
        return path.read_text(encoding="utf-8")

    def test_defaults_and_comments_do_not_matter(self, raw: dict[str, Any], tmp_path: Path) -> None:
        recorded = Params(raw).dump()
        assert "# x\n" + self.text(raw, tmp_path / "p") != self.text(recorded, tmp_path / "q")
        assert params_judge(recorded)("# x\n" + self.text(raw, tmp_path / "p"))
        assert params_judge(recorded)(self.text(recorded, tmp_path / "q"))

    def test_another_value_does(self, raw: dict[str, Any], tmp_path: Path) -> None:
        recorded = Params(raw).dump()
        raw["train"]["epochs"] += 1
        assert not params_judge(recorded)(self.text(raw, tmp_path / "p"))

    def test_a_key_that_the_schema_has_lost(self, raw: dict[str, Any], tmp_path: Path) -> None:
        recorded = Params(raw).dump()
        recorded["train"]["lost"] = {"key": [1, 2]}
        raw["train"]["lost"] = {"key": [1, 2]}
        assert params_judge(recorded)(self.text(raw, tmp_path / "p"))
        raw["train"]["lost"] = {"key": [1, 3]}
        assert not params_judge(recorded)(self.text(raw, tmp_path / "p"))

    def test_a_default_that_has_changed_since(self, raw: dict[str, Any], tmp_path: Path) -> None:
        recorded = Params(raw).dump()
        recorded["train"]["threads"] += 1
        text = self.text(raw, tmp_path / "p")
        assert not params_judge(recorded)(text)
        assert params_judge(recorded, lenient=True)(text)
        raw["train"]["threads"] = recorded["train"]["threads"] + 1
        assert not params_judge(recorded, lenient=True)(self.text(raw, tmp_path / "q"))

    @pytest.mark.parametrize("text", ["", "- 1\n", "a: [", "seed: 1\n"])
    def test_what_are_no_params(self, raw: dict[str, Any], text: str) -> None:
        assert not params_judge(Params(raw).dump())(text)
