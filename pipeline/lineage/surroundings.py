"""How this machine and its libraries differ from those that a result was made on."""

import importlib.metadata
import platform
import re
from collections.abc import Mapping
from typing import Any

from pipeline.tracking.environment import versions
from pipeline.training.cpu import cpu_type

#: name==version of a line of requirements.lock.
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def expected_differences(recorded: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """What can be told before anything runs: processor, system, Python, libraries and the device.

    Args:
        recorded: the statement's environment of each stage.
    """
    here = {"cpu": cpu_type(), "python": platform.python_version(), "system": platform.system(),
            "machine": platform.machine()}
    found: dict[str, None] = {}
    for environment in recorded.values():
        now = {**here, **({"cpu_capability": _capability()} if "cpu_capability" in environment else {})}
        for key, value in now.items():
            if key in environment and environment[key] != value:
                found[f"{key}: {environment[key]} -> {value}"] = None
        installed = versions()
        for name, version in environment.get("libraries", {}).items():
            if name in installed and installed[name] != version:
                found[f"{name}: {version} -> {installed[name]}"] = None
        device = str(environment.get("device", "cpu"))
        if device != "cpu" and device not in (accelerators := _accelerators()):
            found[f"device: {device} -> {', '.join(accelerators) or 'cpu'}"] = None
    return tuple(found)


def lock_differences(lock: str) -> tuple[str, ...]:
    """Installed libraries of a version that requirements.lock does not pin.

    One that is not installed, as it is for another platform, is left out; one that has a pin for each of several
    versions of Python may have any of them.
    """
    pins: dict[str, list[str]] = {}
    for name, version in _PIN.findall(lock):
        pins.setdefault(name, []).append(version)
    found = []
    for name, versions_pinned in pins.items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if not {installed, installed.partition("+")[0]} & set(versions_pinned):
            found.append(f"{name}: {' or '.join(versions_pinned)} in the lock -> {installed} installed")
    return tuple(found)


def differences(recorded: Mapping[str, Any], found: Mapping[str, Any], where: str = "") -> dict[str, tuple[Any, Any]]:
    """{dotted key: (recorded, found)} of two environments."""
    result: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys([*recorded, *found]):
        old, new, name = recorded.get(key), found.get(key), f"{where}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            result |= differences(old, new, f"{name}.")
        elif old != new:
            result[name] = old, new
    return result


def _capability() -> str:
    import torch

    return str(torch.backends.cpu.get_cpu_capability())


def _accelerators() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
