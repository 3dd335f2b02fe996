"""System metrics: what a sample holds, and that GPUs are read where NVML answers."""

import sys
from collections.abc import Mapping
from types import SimpleNamespace

import psutil
import pytest

from pipeline.tracking.sampling import sample, sampled
from pipeline.types import SilentLog


class Recorder(SilentLog):
    """Keeps the steps it is sent."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, Mapping[str, float]]] = []

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.steps.append((step, values))


class NVMLError(Exception):
    """What NVML raises."""


def nvml(**changes: object) -> SimpleNamespace:
    """NVML of a machine with one GPU."""
    calls = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda i: f"gpu {i}",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=2_000_000, total=8_000_000),
        "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=37),
    }
    return SimpleNamespace(**{**calls, **changes})


def fail(*_: object) -> None:
    """An NVML call without an answer."""
    raise NVMLError


def test_a_block_has_a_sample_at_its_start_and_then_one_a_period() -> None:
    log = Recorder()
    with sampled(log, seconds=0.01):
        while len(log.steps) < 3:
            pass
    assert [step for step, _ in log.steps][:3] == [0, 1, 2]
    assert all(name.startswith("system/") for name in log.steps[0][1])


def test_a_sample_is_of_this_process_and_machine() -> None:
    values = sample(psutil.Process(), [])
    assert 0 < values["process_memory_megabytes"] < values["system_memory_usage_megabytes"]
    assert 0 < values["system_memory_usage_percentage"] <= 100
    assert not [name for name in values if name.startswith("gpu")]


def test_gpus_are_read_where_nvml_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    log = Recorder()
    with sampled(log, seconds=60):
        pass
    values = log.steps[0][1]
    assert values["system/gpu_0_memory_usage_megabytes"] == 2.0
    assert values["system/gpu_0_memory_usage_percentage"] == 25.0
    assert values["system/gpu_0_utilization_percentage"] == 37.0


@pytest.mark.parametrize("silent", ["nvmlInit", "nvmlDeviceGetMemoryInfo"])
def test_a_gpu_that_does_not_answer_is_left_out(monkeypatch: pytest.MonkeyPatch, silent: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(**{silent: fail}))
    log = Recorder()
    with sampled(log, seconds=60):
        pass
    assert not [name for name in log.steps[0][1] if "gpu" in name]
