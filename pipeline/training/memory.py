"""How much memory of a device is left for this process."""

from pathlib import Path

import psutil
import torch

#: Where Linux shows the limits of groups of processes.
CGROUPS = Path("/sys/fs/cgroup")


def available_bytes(device: torch.device) -> int:
    """Bytes that this process could still allocate on a device, what torch has set aside there and not used included.

    On CPUs the least of what the machine has available (without swapping) and what the process's groups are allowed.
    """
    match device.type:
        case "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        case "mps":
            return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
        case _:
            limits = [int(psutil.virtual_memory().available), *_group_limits(CGROUPS, _own_group())]
            return max(0, min(limits))


def _own_group() -> str:
    """The path of this process's group (version 2), "" where there is none."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), "")


def _group_limits(root: Path, group: str) -> list[int]:
    """What each group from the process's own up to the root leaves, caches it would give up aside; [] = no limits.

    A container may show its own group as the root, under a path that is not there.
    """
    folder = root / group
    folders = [folder, *folder.parents] if folder.is_dir() else [root]
    left = [_left(f / "memory.max", f / "memory.current", f / "memory.stat", "inactive_file")
            for f in folders if f == root or root in f.parents]
    # Version 1 of the interface.
    old = root / "memory"
    left.append(_left(old / "memory.limit_in_bytes", old / "memory.usage_in_bytes", old / "memory.stat",
                      "total_inactive_file"))
    return [size for size in left if size is not None]


def _left(limit: Path, used: Path, details: Path, cache: str) -> int | None:
    """Limit - used + cache, None where there is no limit."""
    allowed = limit.read_text(encoding="utf-8").strip() if limit.is_file() else "max"
    if not allowed.isdigit() or not used.is_file():
        return None
    lines = details.read_text(encoding="utf-8").splitlines() if details.is_file() else []
    cached = sum(int(line.split()[1]) for line in lines if line.startswith(f"{cache} "))
    return int(allowed) - int(used.read_text(encoding="utf-8")) + cached
