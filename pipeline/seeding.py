"""Random draws that depend on a seed and a name, never on order, workers or ranks.

Everything that draws asks `generator(seed, ...)` for its own stream. `seed_everything` is the only place that touches
the global generators (torch keeps dropout and initialisation there); a stage calls it once. What they then are is part
of an interrupted training's state.
"""

import hashlib
import random
from typing import Any

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


def part_ways(rank: int) -> None:
    """Let a further process of a data-parallel training draw its own dropout; the main one (rank 0) stays as it is."""
    import torch

    if rank:
        torch.manual_seed(torch.initial_seed() + rank)


def global_state(device: Any) -> dict[str, Any]:
    """The state of every global generator as plain data and tensors, that of a CUDA or MPS `device` included."""
    import torch

    _, keys, position, has_gauss, gauss = np.random.get_state()
    return {"python": random.getstate(), "torch": torch.get_rng_state(),
            "numpy": (torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss),
            "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "mps": torch.mps.get_rng_state() if device.type == "mps" else None}


def restore_global_state(state: dict[str, Any], device: Any) -> None:
    """Put every global generator where a `global_state` found it."""
    import torch

    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    if state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])
