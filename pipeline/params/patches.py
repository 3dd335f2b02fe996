"""Part of section `train`: patches, and how they are drawn."""

import warnings
from typing import Literal

from pydantic import Field, model_validator

from pipeline.params.augment import AugmentParams
from pipeline.params.base import Section
from pipeline.params.task import Task

#: Rounding that shares of a whole may show.
_ROUNDING = 1e-6


class SamplingParams(Section):
    """Where patches are cut from the train ground."""

    #: random: around labelled pixels, all equally often. balanced: around labelled pixels, by class. grid: a fixed
    #: lattice of windows, each once a pass. image: any place of any scene, scenes equally often.
    name: Literal["random", "grid", "balanced", "image"] = "random"
    #: Shares by class, from 0 to 1 (balanced). Classes not named share the rest equally, those without train pixels
    #: aside; {} = equal shares.
    composition: dict[str, float] = {}
    #: What has these shares. draws: the pixels that windows are laid around, whatever else is in the windows. pixels:
    #: all labelled pixels of the windows, as nearly as any choice of windows comes to it, which may leave out classes.
    composition_of: Literal["draws", "pixels"] = "draws"
    #: Range of the places in a patch where the pixel it is laid around may lie, as a share of the patch: 1 = anywhere,
    #: 0 = always in the middle (random, balanced).
    jitter: float = Field(default=1.0, ge=0, le=1)
    #: Two classes whose common border is favoured, and the share of all patches laid around it (random, balanced).
    interface: tuple[str, ...] = ()
    interface_share: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> "SamplingParams":
        shares = self.composition
        if wrong := {name: share for name, share in shares.items() if not 0 <= share <= 1}:
            raise ValueError(f"train.patches.sampling.composition must have shares from 0 to 1: got {wrong}")
        if (total := sum(shares.values())) > 1 + _ROUNDING:
            raise ValueError(f"train.patches.sampling.composition must sum to at most 1: got {total:g} for {shares}")
        if len(self.interface) not in (0, 2) or len(set(self.interface)) != len(self.interface):
            raise ValueError("train.patches.sampling.interface must name two classes or be []: "
                             f"got {list(self.interface)}")
        if self.interface_share and not self.interface:
            raise ValueError("train.patches.sampling.interface must name two classes if interface_share is above 0: "
                             f"got [] with interface_share {self.interface_share:g}")
        for setting, set_, needed in (
                ("composition", bool(shares), self.name == "balanced"),
                ("composition_of", self.composition_of != "draws", self.name == "balanced"),
                ("jitter", self.jitter != 1, self.name in ("random", "balanced")),
                ("interface_share", self.interface_share > 0, self.name in ("random", "balanced")),
                ("interface", bool(self.interface), self.interface_share > 0)):
            if set_ and not needed:
                cause = "interface_share is 0" if setting == "interface" else f"name is {self.name}"
                warnings.warn(f"train.patches.sampling.{setting} has no effect: {cause}", stacklevel=2)
        return self

    @property
    def has_interface(self) -> bool:
        """Whether some patches are laid around the border of two classes."""
        return self.interface_share > 0 and self.name in ("random", "balanced")

    def check(self, task: Task) -> None:
        """Cross-check with the task.

        Raises:
            ValueError: a class is not the task's, or every class is named and the shares do not sum to 1.
        """
        for name in self.composition:
            task.class_id(name, "train.patches.sampling.composition")
        for name in self.interface:
            task.class_id(name, "train.patches.sampling.interface")
        total = sum(self.composition.values())
        if set(self.composition) == set(task.class_names) and abs(total - 1) > _ROUNDING:
            raise ValueError("train.patches.sampling.composition must sum to 1 if it names every class: "
                             f"got {total:g}; leave one out, which takes the rest")


class PatchParams(Section):
    """Windows cut in memory; an epoch is a number of draws, not a pass."""

    size_px: int = Field(default=128, ge=32, multiple_of=32)
    per_epoch: int = Field(default=64, ge=1)
    sampling: SamplingParams = SamplingParams()
    #: Flips and quarter turns (the dihedral group D4).
    flips_and_rotations: bool = True
    augmentation: AugmentParams = AugmentParams()
