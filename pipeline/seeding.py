"""Random draws that depend on a seed and a name, never on order, workers or ranks.

Everything that draws asks `generator(seed, ...)` for its own stream. `seed_everything` is the only place that touches
the global generators (torch keeps dropout and initialisation there); a stage calls it once.
"""

import hashlib
import random

import numpy as np


def _key(part: str | int) -> int:
    """One path element as an unsigned 32-bit integer (strings by their sha256, stable over processes)."""
    if isinstance(part, int):
        return part & 0xFFFFFFFF
    return int.from_bytes(hashlib.sha256(part.encode()).digest()[:4], "big")


def generator(seed: int, *path: str | int) -> np.random.Generator:
    """An independent generator for one purpose, such as `generator(seed, "patches", epoch, chunk)`.

    Streams come from numpy's SeedSequence, whose spawn keys make neighbouring purposes statistically independent.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=[_key(p) for p in path])))


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators and ask torch for deterministic algorithms."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
