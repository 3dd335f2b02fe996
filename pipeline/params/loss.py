"""Part of section `train`: what the loss sums."""

import warnings
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.params.base import Section
from pipeline.params.task import Task

#: A factor for each of some classes, by name.
ByClass = dict[str, Annotated[float, Field(ge=0)]]


class LossWeights(Section):
    """Weights of the summed loss terms; 0 leaves a term out."""

    cross_entropy: float = Field(default=1.0, ge=0)
    dice: float = Field(default=0.5, ge=0)
    focal: float = Field(default=0.0, ge=0)
    tversky: float = Field(default=0.0, ge=0)
    lovasz: float = Field(default=0.0, ge=0)
    mcc: float = Field(default=0.0, ge=0)
    boundary: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _one_term(self) -> "LossWeights":
        if not self.terms:
            raise ValueError("train.loss.weights must have one term above 0: got only zeros")
        return self

    @property
    def terms(self) -> dict[str, float]:
        """The terms with a weight above 0."""
        return {name: weight for name, weight in self.model_dump().items() if weight > 0}


class FocalParams(Section):
    """Focal loss (Lin et al. 2017): -alpha (1 - p)^gamma log p of the labelled class."""

    #: How much pixels that are right already lose their say; 0 is cross-entropy.
    gamma: float = Field(default=2.0, ge=0, le=10)
    #: Factor by class name; 1 for classes not named.
    alpha: ByClass = {}


class TverskyParams(Section):
    """Tversky loss (Salehi et al. 2017); alpha = beta = 0.5 is dice."""

    #: Cost of false positives, and of false negatives.
    alpha: float = Field(default=0.3, ge=0)
    beta: float = Field(default=0.7, ge=0)

    @model_validator(mode="after")
    def _one_cost(self) -> "TverskyParams":
        if self.alpha + self.beta == 0:
            raise ValueError("train.loss.tversky.alpha or beta must be above 0: got 0 for both, which costs nothing")
        return self


class BoundaryParams(Section):
    """Cross-entropy near class boundaries, and the targets of the network's boundary head (if it has one)."""

    #: The weight falls with the distance to the nearest class boundary as a Gaussian of this standard deviation in
    #: pixels, cut at three of them.
    sigma_px: float = Field(default=3.0, gt=0, le=20)
    #: Two class names whose common boundary weighs `interface_weight` times as much; [] = no such pair.
    interface: tuple[str, ...] = ()
    interface_weight: float = Field(default=4.0, ge=0)
    #: The boundary head learns pixels nearer than this to the pixels that touch a boundary: 1 = these alone.
    width_px: int = Field(default=2, ge=1, le=60)
    #: Weight of the boundary head's cross-entropy beside that of the class logits.
    head_weight: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _interface_is_a_pair(self) -> "BoundaryParams":
        if self.interface and not len(set(self.interface)) == len(self.interface) == 2:
            raise ValueError("train.loss.boundary.interface must be two different class names or []: "
                             f"got {list(self.interface)}")
        return self


class RampParams(Section):
    """Terms that come in later: absent for `start_epoch` epochs, then in equal steps to their weight in `epochs`."""

    #: Names of train.loss.weights; terms not named have their weight from the start.
    terms: tuple[str, ...] = ()
    start_epoch: int = Field(default=0, ge=0)
    epochs: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _known_terms(self) -> "RampParams":
        known = list(LossWeights.model_fields)
        if unknown := sorted(set(self.terms) - set(known)):
            raise ValueError(f"train.loss.ramp.terms must be terms of train.loss.weights {known}: got {unknown[0]!r}")
        changes = (self.start_epoch, self.epochs) != (0, 1)
        if changes and not self.terms:
            _no_effect("ramp.start_epoch and ramp.epochs have", "train.loss.ramp.terms is empty")
        if self.terms and not changes:
            _no_effect("ramp.terms has", "train.loss.ramp.start_epoch is 0 and ramp.epochs 1")
        return self

    def share(self, term: str, epoch: int) -> float:
        """The part of its weight, 0 to 1, that a term has in an epoch (counted from 0)."""
        if term not in self.terms:
            return 1.0
        return min(max((epoch + 1 - self.start_epoch) / self.epochs, 0.0), 1.0)


class LossParams(Section):
    """What the loss sums, and how classes weigh in its sums over pixels (cross-entropy and focal)."""

    weights: LossWeights = LossWeights()
    ramp: RampParams = RampParams()
    #: none: equal. inverse_sqrt, inverse: by train pixel counts. effective_number: (1 - beta) / (1 - beta^count).
    #: given: as in given_weights. Mean 1 over labelled train pixels.
    class_weights: Literal["none", "inverse_sqrt", "inverse", "effective_number", "given"] = "inverse_sqrt"
    #: Weight by class name for `class_weights: given`; 1 for classes not named.
    given_weights: ByClass = {}
    #: beta of the effective number (Cui et al. 2019).
    effective_beta: float = Field(default=0.9999, gt=0, lt=1)
    #: Cross-entropy's targets: 1 - this for the label, and this shared by all classes (Szegedy et al. 2016).
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    focal: FocalParams = FocalParams()
    tversky: TverskyParams = TverskyParams()
    boundary: BoundaryParams = BoundaryParams()

    @model_validator(mode="after")
    def _starts_with_a_term(self) -> "LossParams":
        if not any(self.weight(term, 0) for term in self.weights.terms):
            raise ValueError("train.loss.weights must have one term above 0 in the first epoch: got "
                             f"{list(self.weights.terms)}, all of them in ramp.terms; take one out")
        return self

    @model_validator(mode="after")
    def _warn_of_no_effect(self) -> "LossParams":
        on = self.weights.terms
        for name in ("focal", "tversky", "boundary"):
            if name not in on and getattr(self, name) != type(getattr(self, name))():
                _no_effect(f"{name} has", f"train.loss.weights.{name} is 0")
        if "cross_entropy" not in on and self.label_smoothing:
            _no_effect("label_smoothing has", "train.loss.weights.cross_entropy is 0")
        chosen = "class_weights" in self.model_fields_set and self.class_weights != "none"
        if chosen and not {"cross_entropy", "focal"} & set(on):
            _no_effect(f"class_weights: {self.class_weights} has",
                       "train.loss.weights.cross_entropy and weights.focal are 0")
        if self.given_weights and self.class_weights != "given":
            _no_effect("given_weights has", f"train.loss.class_weights is {self.class_weights}, not given")
        if _changed(self, "effective_beta") and self.class_weights != "effective_number":
            _no_effect("effective_beta has", f"train.loss.class_weights is {self.class_weights}, not effective_number")
        if off := [term for term in self.ramp.terms if term not in on]:
            _no_effect("ramp.terms has", f"train.loss.weights.{off[0]} is 0")
        if _changed(self.boundary, "interface_weight") and not self.boundary.interface:
            _no_effect("boundary.interface_weight has", "train.loss.boundary.interface is empty")
        return self

    @model_validator(mode="after")
    def _given_are_given(self) -> "LossParams":
        if self.class_weights == "given" and not self.given_weights:
            raise ValueError("train.loss.given_weights must name a class for class_weights: given: got none")
        return self

    def weight(self, term: str, epoch: int) -> float:
        """The weight of a term in an epoch (counted from 0)."""
        weight: float = getattr(self.weights, term)
        return weight * self.ramp.share(term, epoch)

    def check(self, task: Task, boundary_head: bool, epochs: int) -> None:
        """Cross-check with the task, the network and the length of the training.

        Raises:
            ValueError: a name is no class of the task.
        """
        for subject, names in (("given_weights", self.given_weights), ("focal.alpha", self.focal.alpha),
                               ("boundary.interface", self.boundary.interface)):
            for name in names:
                task.class_id(name, f"train.loss.{subject}")
        if boundary_head and not (self.weights.boundary and self.boundary.head_weight):
            warnings.warn("train.network.boundary_head has no effect: train.loss.weights.boundary or "
                          "train.loss.boundary.head_weight is 0", stacklevel=2)
        if self.weights.boundary and not boundary_head and _changed(self.boundary, "width_px", "head_weight"):
            _no_effect("boundary.width_px and head_weight have", "train.network.boundary_head is false")
        if late := [term for term in self.ramp.terms if not self.ramp.share(term, epochs - 1)]:
            _no_effect(f"weights.{late[0]} has", f"train.loss.ramp.start_epoch={self.ramp.start_epoch} is not "
                       f"before train.epochs={epochs}")
        elif unripe := [term for term in self.ramp.terms if self.ramp.share(term, epochs - 1) < 1]:
            warnings.warn(f"train.loss.weights.{unripe[0]} never has its whole weight: train.loss.ramp.start_epoch="
                          f"{self.ramp.start_epoch} and ramp.epochs={self.ramp.epochs} go beyond train.epochs={epochs}",
                          stacklevel=2)


def _changed(section: Section, *names: str) -> bool:
    """Whether one of the fields has another value than its default."""
    return any(getattr(section, name) != type(section).model_fields[name].default for name in names)


def _no_effect(subject: str, reason: str) -> None:
    warnings.warn(f"train.loss.{subject} no effect: {reason}", stacklevel=3)
