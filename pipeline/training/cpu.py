"""The processor's name, for what must tell one machine from another without importing torch."""

import platform
from pathlib import Path


def cpu_type() -> str:
    """The processor's model name (Linux), else what the platform says."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
