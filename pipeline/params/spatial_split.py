"""Section `spatial_split`: randomized blocks, their parts and the support each class must have in them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.params.base import Section
from pipeline.params.task import Task


class RegistrationParams(Section):
    """How the offset between labels and image is measured, on train ground only."""

    #: Side of a tile in pixels; every tile gets an offset of its own, with its uncertainty.
    tile_px: int = Field(default=256, ge=32, le=4096)
    #: Offsets up to this many pixels are tried in each direction; 0 measures none.
    reach_px: int = Field(default=8, ge=0, le=32)


class SplitParams(Section):
    """Blocks go to `folds` folds of equal numbers (give or take one) and to a test part of their own.

    Training uses all folds but `val_fold`, which is the validation part.
    """

    #: Side of a block in metres on the ground; `auto` takes the correlation range of a quick pixel model's residuals.
    block_size_m: Annotated[float, Field(gt=0)] | Literal["auto"] = 640.0
    folds: int = Field(default=5, ge=2, le=50)
    val_fold: int = Field(default=0, ge=0)
    #: Share of the blocks in the sealed test part.
    test_fraction: float = Field(default=0.2, gt=0, lt=0.9)
    #: Train ground nearer than this to held-out ground carries no label (metres on the ground).
    buffer_m: float = Field(default=0.0, ge=0)
    #: Least labelled pixels of each class in each part (train, val, test).
    min_pixels: int = Field(default=200, ge=1)
    #: Least number of separate objects of each class in each part.
    min_objects: int = Field(default=1, ge=1)
    #: Which support is asked for: with `val_fold` as the validation part, or with each fold in its turn.
    support_in: Literal["val_fold", "all_folds"] = "val_fold"
    #: Random assignments tried before the split is called infeasible.
    attempts: int = Field(default=2000, ge=1)
    #: What happens to classes that no assignment supports in every part.
    rare_classes: Literal["error", "merge", "report_only"] = "error"
    #: For `merge`: rare class -> class that takes it in.
    merge_into: dict[str, str] = {}

    #: Whether the same picture in train and in val or test (a scene given twice, say) fails the stage.
    near_duplicates: Literal["error", "report"] = "error"
    #: Correlation of two windows' detail from which on they are nearly the same picture.
    duplicate_correlation: float = Field(default=0.99, gt=0.9, lt=1)

    registration: RegistrationParams = RegistrationParams()

    @model_validator(mode="after")
    def _val_fold_exists(self) -> "SplitParams":
        if self.val_fold >= self.folds:
            raise ValueError(f"spatial_split.val_fold must be below spatial_split.folds={self.folds}: "
                             f"got {self.val_fold}")
        return self

    @property
    def block_m(self) -> float:
        """block_size_m as a number.

        Raises:
            ValueError: it is `auto` and has not been resolved.
        """
        if self.block_size_m == "auto":
            raise ValueError("spatial_split.block_size_m must be a number here: got 'auto'; resolve it first")
        return self.block_size_m

    def check(self, task: Task) -> None:
        """Cross-check with the task.

        Raises:
            ValueError: merge_into names no class, or merges into a class that is itself merged.
        """
        for rare, other in self.merge_into.items():
            task.class_id(rare, "spatial_split.merge_into")
            task.class_id(other, f"spatial_split.merge_into.{rare}")
            if other in self.merge_into:
                raise ValueError(f"spatial_split.merge_into.{rare} must be a class that stays: got {other!r}, "
                                 "which is merged itself")
        if len(task.classes) - len(self.merge_into) < 2:
            raise ValueError("spatial_split.merge_into must leave at least two classes: "
                             f"got {len(self.merge_into)} of {len(task.classes)} merged")
        if self.rare_classes == "merge" and not self.merge_into:
            raise ValueError("spatial_split.merge_into must say where rare classes go when rare_classes is merge: "
                             "got {}")
