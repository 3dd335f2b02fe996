"""Section `export`: what leaves the project, and the checks it must pass first."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.params.base import Section
from pipeline.params.task import Task


class ShareBounds(Section):
    """Least and largest share of a map's valid pixels a class may have."""

    min: float = Field(default=0.0, ge=0, le=1)
    max: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> "ShareBounds":
        if self.min > self.max:
            raise ValueError(f"min must not exceed max: got {self.min} > {self.max}")
        return self


class ExportParams(Section):
    """ONNX, maps, cards."""

    opset: int = Field(default=18, ge=17, le=23)
    #: Largest difference of probabilities between torch and onnxruntime.
    parity_tolerance: float = Field(default=1e-4, gt=0)
    #: d4: model.onnx and the maps average over the eight flips and turns of each tile, which needs evaluate.tta: d4.
    tta: Literal["none", "d4"] = "none"
    #: Class name -> bounds of its share in every map.
    class_shares: dict[str, ShareBounds] = {}
    #: Name under which the model is registered in MLflow.
    registered_name: str = Field(default="kumulus", min_length=1)

    def check(self, task: Task) -> None:
        """Cross-check with the task.

        Raises:
            ValueError: class_shares names no class.
        """
        for name in self.class_shares:
            task.class_id(name, "export.class_shares")
