"""`kumulus ablate` shows its plan, and answers what is wrong in one line before anything runs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app

DECLARED = "changes:\n  smooth: {train.loss.label_smoothing: 0.1}\n  idle: {train.loss.tversky.alpha: 0.4}\n"


@pytest.fixture
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(root)
    return root


def test_the_plan_is_shown_with_its_warnings(here: Path) -> None:
    (here / "ablate.yaml").write_text(DECLARED, encoding="utf-8")
    result = CliRunner().invoke(app, ["ablate", "--plan"])
    assert result.exit_code == 0, result.output
    names = [line.partition(":")[0].rpartition("-")[0] for line in result.stdout.splitlines()]
    assert names == ["ablate-baseline", "ablate-smooth", "ablate-idle"]
    assert "++train.loss.label_smoothing=0.1" in result.stdout
    assert result.stderr.startswith("idle: warning: train.loss.tversky has no effect")
    assert not (here / ".kumulus").exists()


@pytest.mark.parametrize(("text", "message"), [
    (None, "kumulus: an ablation must be declared in a YAML file: ablate.yaml is none"),
    ("changes: {a: {train.epoch: 1}}", "kumulus: variant a (train.epoch: 1): train.epoch is not a known key; did you "
                                       "mean 'epochs'?"),
    (DECLARED, "kumulus: `git for-each-ref` must work in"),
])
def test_errors_take_one_line(here: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, message: str) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(here.parent))
    if text is not None:
        (here / "ablate.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["ablate"])
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
