"""How many processors this process may use, which in a container or under `taskset` are fewer than there are."""

import os


def available_cores() -> int:
    """Processors that the operating system lets this process run on, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
