"""Section `evaluate`: tiles of inference, baselines on the same pixels, intervals, targets."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.params.base import Section
from pipeline.params.targets import check_targets, parse_targets
from pipeline.params.task import Task


class TileParams(Section):
    """Inference windows; neighbours overlap and are blended."""

    size_px: int = Field(default=256, ge=32, multiple_of=32)
    overlap_px: int = Field(default=64, ge=0)

    @model_validator(mode="after")
    def _overlap_fits(self) -> "TileParams":
        if 2 * self.overlap_px > self.size_px:
            raise ValueError(f"overlap_px must be at most half of size_px={self.size_px}: got {self.overlap_px}")
        return self


class ThresholdRule(Section):
    """Baseline rule: pixels whose index exceeds a threshold are of a class (first rule that holds wins)."""

    target: str
    index: str
    above: float


class BaselineParams(Section):
    """Simple methods the network must beat."""

    majority: bool = True
    #: Pixels that no rule claims are task.background; [] leaves this baseline out.
    index_rules: tuple[ThresholdRule, ...] = ()
    boosting: bool = True
    boosting_focal: bool = True
    #: Train pixels drawn for boosting.
    boosting_pixels: int = Field(default=100_000, ge=100)
    #: Windows of the focal means and deviations, pixels, odd.
    focal_px: tuple[int, ...] = (5, 15)

    @model_validator(mode="after")
    def _odd(self) -> "BaselineParams":
        if bad := [w for w in self.focal_px if w < 3 or w % 2 == 0]:
            raise ValueError(f"evaluate.baselines.focal_px must be odd and at least 3: got {bad}")
        return self


class BootstrapParams(Section):
    """Percentile intervals over resampled blocks."""

    resamples: int = Field(default=1000, ge=100)
    #: Two-sided coverage.
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


class EvaluateParams(Section):
    """How the network and the baselines are scored."""

    tiles: TileParams = TileParams()
    baselines: BaselineParams = BaselineParams()
    bootstrap: BootstrapParams = BootstrapParams()
    #: d4: the network is also scored with its probabilities averaged over the eight flips and turns of each tile
    #: (method network_tta; eight times the work). export.tta says whether it leaves the project that way.
    tta: Literal["none", "d4"] = "none"
    #: A reference object counts as found if a predicted object overlaps it with at least this IoU.
    object_iou: float = Field(default=0.3, gt=0, le=1)
    #: Classes whose objects are counted (connected areas, 8 neighbours).
    object_classes: tuple[str, ...] = ()
    #: Scores the model must reach: name -> rule, such as water.iou: ">= 0.5"; kept as it is written, names dotted or
    #: nested, so that records compare (pipeline.params.targets.parse_targets reads it).
    targets: dict[str, Any] | None = None

    @field_validator("targets")
    @classmethod
    def _readable(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        parse_targets(value)
        return value

    def check(self, task: Task) -> None:
        """Cross-check with the task.

        Raises:
            ValueError: a rule or a target names no class, rules have no background to fall to, or a target is of
                objects that are not counted.
        """
        for i, rule in enumerate(self.baselines.index_rules):
            task.class_id(rule.target, f"evaluate.baselines.index_rules[{i}].target")
        if self.baselines.index_rules and not task.background:
            raise ValueError("task.background must name the class of pixels no index rule claims: got ''; "
                             "name it, or set evaluate.baselines.index_rules to []")
        for name in self.object_classes:
            task.class_id(name, "evaluate.object_classes")
        check_targets(self.targets, task, self.object_classes)
