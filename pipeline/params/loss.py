"""Part of section `train`: what the loss sums."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.params.base import Section


class LossWeights(Section):
    """Weights of the summed loss terms; 0 leaves a term out."""

    cross_entropy: float = Field(default=1.0, ge=0)
    dice: float = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _one_term(self) -> "LossWeights":
        if self.cross_entropy + self.dice == 0:
            raise ValueError("train.loss.weights must have one term above 0: got only zeros")
        return self

class LossParams(Section):
    """What the loss sums and how classes weigh in its cross-entropy."""

    weights: LossWeights = LossWeights()
    #: none: equal. inverse_sqrt, inverse: by train pixel counts, mean 1 over labelled pixels.
    class_weights: Literal["none", "inverse_sqrt", "inverse"] = "inverse_sqrt"
