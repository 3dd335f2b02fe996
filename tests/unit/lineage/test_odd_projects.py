"""Names and stages that Kumulus does not write itself, and git and DVC allow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.lineage.commits import find_commit
from pipeline.lineage.verify import Verdict
from tests.unit.lineage.handmade import Project
from tests.unit.lineage.small_repo import FILES, Repo


def test_a_name_with_a_line_separator_is_one_name(
    tmp_path: Path, small_params: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a\u2028b/x.py"
    repo = Repo(tmp_path / "repo", small_params())
    repo.commit()
    monkeypatch.setitem(FILES, name, "x = 1\n")
    repo.write(FILES)
    statement = repo.statement()
    search = find_commit(statement, repo.root)  # git answers with the name where it has none
    assert search.match is None
    assert search.reason.startswith(f"{name} was never committed")
    commit = repo.commit()
    search = find_commit(statement, repo.root)
    assert search.match is not None
    assert search.match.commit == commit


def test_export_under_another_name_in_the_lock(traced: Project) -> None:
    lock = traced.file("dvc.lock")
    lock.write_text(lock.read_text(encoding="utf-8").replace("  export:\n", "  publish:\n"), encoding="utf-8")
    assert traced.verify().verdict is Verdict.VERIFIED
    params = traced.paths.params_file
    params.write_text(params.read_text(encoding="utf-8").replace("seed: ", "seed: 9", 1), encoding="utf-8")
    report = traced.verify()
    assert [link.node for link in report.of(Verdict.CONTRADICTED)] == ["params"]
