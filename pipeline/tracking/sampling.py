"""System metrics of a training, sampled beside it: processor, memory, disk, network, GPUs by nvidia-ml-py.

Names are those of MLflow's own monitor, so that its "System metrics" page shows them.
"""

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from pipeline.types import RunLog

_MEGA = 1e6


@contextmanager
def sampled(log: RunLog, seconds: float = 10.0) -> Iterator[None]:
    """Record a sample at the start and then every so many seconds, until the block ends."""
    stop = threading.Event()
    gpus = gpu_handles()
    process = psutil.Process()
    psutil.cpu_percent()
    process.cpu_percent()

    def work() -> None:
        step = 0
        while True:
            log.metrics({f"system/{name}": value for name, value in sample(process, gpus).items()}, step)
            if stop.wait(seconds):
                return
            step += 1

    thread = threading.Thread(target=work, name="system-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def sample(process: psutil.Process, gpus: list[object]) -> dict[str, float]:
    """One reading; percentages are means since the last one."""
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage("/")
    network = psutil.net_io_counters()
    values = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "process_cpu_percentage": process.cpu_percent(),
        "process_memory_megabytes": process.memory_info().rss / _MEGA,
        "system_memory_usage_megabytes": memory.used / _MEGA,
        "system_memory_usage_percentage": memory.percent,
        "disk_usage_percentage": disk.percent,
    }
    if network is not None:
        values["network_receive_megabytes"] = network.bytes_recv / _MEGA
        values["network_transmit_megabytes"] = network.bytes_sent / _MEGA
    for i, handle in enumerate(gpus):
        values |= _gpu(i, handle)
    return {name: round(value, 1) for name, value in values.items()}


def gpu_handles() -> list[object]:
    """NVML's handles of all GPUs; none where nvidia-ml-py or a driver is missing."""
    try:
        pynvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def _gpu(i: int, handle: object) -> dict[str, float]:
    """Memory and load of one GPU, as far as it tells them."""
    pynvml: Any = importlib.import_module("pynvml")
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            f"gpu_{i}_memory_usage_megabytes": memory.used / _MEGA,
            f"gpu_{i}_memory_usage_percentage": memory.used / memory.total * 100,
            f"gpu_{i}_utilization_percentage": float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        }
    except pynvml.NVMLError:
        return {}
