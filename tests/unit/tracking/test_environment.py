"""What is told of the machine that a stage ran on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.paths import Paths
from pipeline.tracking.environment import recorded_environment, run_record, stage_environment, versions
from pipeline.training.cpu import cpu_type


def test_of_a_stage_without_a_network(tmp_path: Path) -> None:
    found = stage_environment("acquire", Paths(tmp_path))
    assert (found["device"], found["cpu"], found["world_size"]) == ("cpu", cpu_type(), 1)
    assert "precision" not in found
    assert found["libraries"]["numpy"] == versions()["numpy"]
    assert stage_environment("evaluate", Paths(tmp_path)) == found | {"precision": "32-true"}


def test_of_the_training_as_it_says_itself(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.run_file.parent.mkdir()
    ran = {"device": "NVIDIA X", "threads": 7, "precision": "bf16-mixed", "world_size": 4}
    paths.run_file.write_text(json.dumps({"key": "k", "environment": ran}))
    found = stage_environment("train", paths)
    assert {name: found[name] for name in ran} == ran
    assert found["cpu"] == cpu_type()
    assert stage_environment("evaluate", paths)["device"] == "cpu"
    assert run_record(paths.run_file)["key"] == "k"
    assert run_record(paths.run_file.with_name("none.json")) == {}


@pytest.mark.parametrize(("given", "expected"), [("3", "3"), ("3,2", "cores"), ("", "cores")])
def test_threads_without_torch_are_those_of_openmp_or_the_cores(given: str, expected: str, project: Path) -> None:
    code = ("import os, sys; from pathlib import Path; from pipeline.paths import Paths\n"
            "from pipeline.tracking.environment import stage_environment as e\n"
            "print(e('acquire', Paths())['threads'], len(os.sched_getaffinity(0)), 'torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env={"OMP_NUM_THREADS": given, "PATH": ""},
                          capture_output=True, text=True, check=True)
    threads, cores, torch = done.stdout.split()
    assert threads == {"cores": cores}.get(expected, expected)
    assert torch == "False"


def test_with_torch_they_are_torchs(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        assert stage_environment("export", Paths(tmp_path))["threads"] == before + 1
    finally:
        torch.set_num_threads(before)


def test_what_a_stage_left(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert recorded_environment("train", paths) is None
    file = paths.report("train") / "environment.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"cpu": "x"}')
    assert recorded_environment("train", paths) == {"cpu": "x"}
    file.write_text("[")
    with pytest.raises(IntegrityError, match=r"must be JSON as its stage writes .*; run `dvc repro --force train`"):
        recorded_environment("train", paths)
