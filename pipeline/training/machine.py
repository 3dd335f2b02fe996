"""What of the machine can change a weight: part of the resume fingerprint and of the record of a training."""

import platform

import torch
from lightning_fabric import Fabric

from pipeline.params.train import TrainParams
from pipeline.training.cpu import cpu_type


def environment(fabric: Fabric, params: TrainParams) -> dict[str, str | int]:
    """Device, CPU type, threads, precision, world size and torch version of this training."""
    cuda = fabric.device.type == "cuda"
    return {"device": torch.cuda.get_device_name(fabric.device) if cuda else fabric.device.type, "cpu": cpu_type(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(), "threads": params.threads,
            "precision": params.precision, "world_size": fabric.world_size, "torch": torch.__version__,
            "python": platform.python_version()}
