"""Draws depend on seed and purpose only."""

import random

import numpy as np
import pytest
import torch

from pipeline.seeding import generator, global_state, part_ways, restore_global_state, seed_everything


def draws(*path: str | int, seed: int = 1) -> list[int]:
    return [int(n) for n in generator(seed, *path).integers(0, 2**31, 4)]


def test_equal_purpose_equal_draws_whatever_was_drawn_before() -> None:
    first = draws("patches", 3, 5)
    draws("other")
    assert draws("patches", 3, 5) == first


@pytest.mark.parametrize("other", [("patches", 3, 6), ("patches", 5, 3), ("patch", 3, 5), ("patches", 3), ()])
def test_other_purpose_other_draws(other: tuple[str | int, ...]) -> None:
    assert draws(*other) != draws("patches", 3, 5)


def test_other_seed_other_draws() -> None:
    assert draws("a", seed=2) != draws("a", seed=1)


def test_streams_are_pinned() -> None:
    """A change here changes every result of the project."""
    assert draws("patches", 0, 0, seed=42) == [184379249, 1014770991, 908307831, 714612978]


def test_global_generators_are_seeded_together() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    try:
        seed_everything(7)
        first = (random.random(), np.random.random(), torch.rand(1).item())
        seed_everything(7)
        assert (random.random(), np.random.random(), torch.rand(1).item()) == first
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(before)


def test_global_generators_go_on_where_their_state_was_taken() -> None:
    kept = global_state(torch.device("cpu"))

    def draw() -> tuple[float, ...]:
        return random.random(), float(np.random.random()), float(np.random.standard_normal()), float(torch.rand(1))

    np.random.standard_normal()  # leaves the second of a pair for the next call
    between = global_state(torch.device("cpu"))
    drawn = draw()
    assert draw() != drawn
    restore_global_state(between, torch.device("cpu"))
    assert draw() == drawn
    restore_global_state(kept, torch.device("cpu"))


def test_further_ranks_draw_their_own_and_the_first_stays_as_it_is() -> None:
    kept = global_state(torch.device("cpu"))
    drawn = []
    for rank in (0, 1, 1, 2):
        torch.manual_seed(3)
        part_ways(rank)
        drawn.append(float(torch.rand(1)))
    torch.manual_seed(3)
    assert drawn[0] == float(torch.rand(1))
    assert drawn[1] == drawn[2]
    assert len(set(drawn)) == 3
    restore_global_state(kept, torch.device("cpu"))


def test_the_generator_of_apples_gpus_is_among_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [torch.tensor([1, 2], dtype=torch.uint8)]
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: own[0].clone())
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: own.__setitem__(0, state))
    kept = global_state(torch.device("mps"))
    own[0] = torch.tensor([3, 4], dtype=torch.uint8)
    restore_global_state(kept, torch.device("mps"))
    assert own[0].tolist() == [1, 2]
    assert global_state(torch.device("cpu"))["mps"] is None
