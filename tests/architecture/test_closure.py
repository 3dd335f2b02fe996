"""The closure finds what a script can import, and rewriting touches nothing else in dvc.yaml."""

from pathlib import Path

import pytest

from tools.closure import closure, rewrite, stage_module

FILES = {
    "pipeline/__init__.py": "",
    "pipeline/top.py": "import pipeline.low.one\n",
    "pipeline/low/__init__.py": '"""Low."""\n',
    "pipeline/low/one.py": "def f():\n    from pipeline.low import two\n    return two\n",
    "pipeline/low/two.py": "from . import three\nfrom .three import NAME\nimport json\n",
    "pipeline/low/three.py": "NAME = 1\n",
    "pipeline/watch/__init__.py": "",
    "pipeline/watch/runs.py": "import pipeline.hidden\n",
    "pipeline/watch/digests.py": "",
    "pipeline/hidden.py": "",
    "pipeline/unused.py": "",
    "stages/__init__.py": "",
    "stages/a.py": "from pipeline import top\nfrom pipeline.watch import digests, runs\n",
    "stages/b.py": "x = 1\n",
    "requirements.lock": "",
    "pyproject.toml": '[tool.kumulus]\nobservers = ["pipeline.watch.runs"]\n',
    "dvc.yaml": """\
# the head
stages:
  a:
    cmd: python -m stages.a
    deps:
      - ${acquire.inputs}   # data
      - data/raw
      - stages/old.py
    outs:
      - data/a   # kept

  # about b
  b:
    cmd: python -m stages.b
    deps:
      - data/a
      - requirements.lock
      - stages/__init__.py
      - stages/b.py
    outs: [data/b]
""",
}


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_lazy_relative_and_init_imports_are_followed(toy: Path) -> None:
    assert closure(toy, "pipeline.top") == {
        "pipeline/__init__.py", "pipeline/top.py", "pipeline/low/__init__.py", "pipeline/low/one.py",
        "pipeline/low/two.py", "pipeline/low/three.py"}


def test_observers_and_what_only_they_import_are_left_out(toy: Path) -> None:
    with_all, without = closure(toy, "stages.a"), closure(toy, "stages.a", ["pipeline.watch.runs"])
    assert with_all - without == {"pipeline/watch/runs.py", "pipeline/hidden.py"}
    assert "pipeline/watch/digests.py" in without


def test_observed_package_is_left_out_whole(toy: Path) -> None:
    assert not any("watch" in file for file in closure(toy, "stages.a", ["pipeline.watch"]))


def test_missing_script_is_an_error(toy: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"stages\.none must exist"):
        closure(toy, "stages.none")


@pytest.mark.parametrize("command", ["python stages/a.py", "bash run", "python -m"])
def test_other_commands_are_refused(command: str) -> None:
    with pytest.raises(ValueError, match="must be `python -m"):
        stage_module(command)


def test_rewrite_keeps_comments_data_deps_and_other_stages(toy: Path) -> None:
    assert rewrite(toy) == ["a"]
    text = (toy / "dvc.yaml").read_text(encoding="utf-8")
    code = ["requirements.lock", "pipeline/__init__.py", "pipeline/low/__init__.py", "pipeline/low/one.py",
            "pipeline/low/three.py", "pipeline/low/two.py", "pipeline/top.py", "pipeline/watch/__init__.py",
            "pipeline/watch/digests.py", "stages/__init__.py", "stages/a.py"]
    assert text == FILES["dvc.yaml"].replace("      - stages/old.py\n", "".join(f"      - {c}\n" for c in code))
    assert rewrite(toy) == []


def test_check_writes_nothing(toy: Path) -> None:
    assert rewrite(toy, check_only=True) == ["a"]
    assert (toy / "dvc.yaml").read_text(encoding="utf-8") == FILES["dvc.yaml"]
