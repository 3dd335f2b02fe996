"""Who judges members while and after they are trained: val scores, and the temperature that is fitted on val."""

from collections.abc import Mapping
from typing import Any

import torch

from pipeline.errors import ModelError
from pipeline.features.channels import ChannelRecipe
from pipeline.inference.calibration import calibrate
from pipeline.inference.validation import ValScorer
from pipeline.networks.segmenter import Segmenter
from pipeline.networks.spec import ModelSpec
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.types import IGNORE_INDEX


class Judge:
    """Judges members on their own val parts."""

    def __init__(self, store: SceneStore, task: Task, params: TrainParams, device: torch.device) -> None:
        self._store, self._task, self._params, self._device = store, task, params, device

    def check(self, split: Split) -> None:
        """See that the split's val part can be scored and calibrated on as the params ask; reads its labels.

        Raises:
            ModelError: the monitored score is defined nowhere on it, or it has no label to fit a temperature on.
        """
        calibrates = self._params.calibration.temperature
        if not (self._params.val_decides or calibrates):
            return
        scorer = ValScorer(self._store, split, ChannelRecipe.of(self._task), 0, 1)
        scorer.check(self._params)
        if calibrates and not scorer.label_counts()[:IGNORE_INDEX].any():
            raise ModelError("train.calibration.temperature must have labelled val pixels to be fitted on: fold "
                             f"{split.val_fold} has none; switch it off, or split again")

    def of(self, split: Split, spec: ModelSpec) -> "MemberJudge":
        """The judge of one member, on the split with its val fold."""
        scorer = ValScorer(self._store, split, spec.recipe, self._params.patches.size_px // 4, spec.size_multiple)
        return MemberJudge(scorer, self._params, self._device)


class MemberJudge:
    """Val scores of a network in its present state, and its calibration once it is trained."""

    def __init__(self, scorer: ValScorer, params: TrainParams, device: torch.device) -> None:
        self._scorer, self._params, self._device = scorer, params, device

    @property
    def largest_NHW(self) -> tuple[int, int, int] | None:
        """Windows, rows and columns of the largest batch in which val is scored; None without val ground."""
        return self._scorer.largest_NHW

    def __call__(self, segmenter: Segmenter) -> dict[str, float]:
        """Val scores by name, NaN where undefined."""
        return self._scorer(segmenter)

    def finish(self, segmenter: Segmenter) -> Mapping[str, Any]:
        """Calibrate the trained network as the params ask; what is to be reported of it by name."""
        if not self._params.calibration.temperature:
            return {}
        return {"calibration": calibrate(segmenter, self._scorer, self._device).report()}
