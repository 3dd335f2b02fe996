"""Moving average of the weights: what is scored and saved in their place where `train.ema_decay` is above 0."""

import copy
from typing import Any

import torch

from pipeline.networks.segmenter import Segmenter


class Averages:
    """Exponential moving average of a segmenter's weights over the steps (Polyak & Juditsky 1992; Tarvainen & Valpola
    2017, Mean Teacher).

    a <- d a + (1 - d) w with d = min(decay, (1 + t) / (10 + t)) after step t = 0, 1, ...: a short memory at first, or
    the random start would stay in the average for 1 / (1 - decay) steps. Floating-point buffers (the statistics of
    batch norm) are averaged alike, so that they belong to the averaged weights; counters are copied.
    """

    def __init__(self, segmenter: Segmenter, decay: float) -> None:
        self.segmenter = copy.deepcopy(segmenter).eval().requires_grad_(False)
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self, segmenter: Segmenter) -> None:
        """Take in the weights after one step."""
        share = 1 - min(self._decay, (1 + self._steps) / (10 + self._steps))
        own, new = self.segmenter.state_dict(), segmenter.state_dict()
        floats = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floats], [new[name] for name in floats], share)
        for name in own.keys() - set(floats):
            own[name].copy_(new[name])
        self._steps += 1

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {"weights": self.segmenter.state_dict(), "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.segmenter.load_state_dict(state["weights"])
        self._steps = state["steps"]
