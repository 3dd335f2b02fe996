"""Part of section `train`: random changes of patches; all are off by default."""

import warnings

from pydantic import Field, model_validator

from pipeline.params.base import Section
from pipeline.params.task import Task

#: Settings that warp a patch, that change its values, and that put parts of another patch into it.
_WARPS = ("shift", "scale", "rotate_deg", "elastic_px", "grid_distortion")
_VALUES = ("brightness", "band_brightness", "contrast", "gamma", "noise", "band_dropout")


class AugmentParams(Section):
    """One number an augmentation, 0 = off; flips and quarter turns are `train.patches.flips_and_rotations`."""

    #: Share of the patches that are warped by what follows, up to grid_distortion.
    warped: float = Field(default=1.0, ge=0, le=1)
    #: Greatest shift along rows and along columns, as a share of the patch's side, in whole pixels.
    shift: float = Field(default=0.0, ge=0, le=0.5)
    #: Greatest zoom: the patch is enlarged by a factor between 1 / (1 + scale) and 1 + scale.
    scale: float = Field(default=0.0, ge=0, le=3)
    #: Greatest rotation either way, degrees.
    rotate_deg: float = Field(default=0.0, ge=0, le=180)
    #: Standard deviation of a smooth random displacement of each pixel, in pixels.
    elastic_px: float = Field(default=0.0, ge=0, le=32)
    #: Over how many pixels that displacement changes (standard deviation of the Gaussian that smooths it).
    elastic_smooth_px: float = Field(default=8.0, ge=1, le=64)
    #: Greatest relative change of the widths of the cells of a 5 x 5 grid laid over the patch.
    grid_distortion: float = Field(default=0.0, ge=0, lt=1)
    #: Greatest shift of all bands either way, in standard deviations of each band.
    brightness: float = Field(default=0.0, ge=0, le=5)
    #: The same, drawn for each band by itself.
    band_brightness: float = Field(default=0.0, ge=0, le=5)
    #: Greatest contrast: deviations from a band's mean grow by a factor between 1 / (1 + contrast) and 1 + contrast.
    contrast: float = Field(default=0.0, ge=0, le=3)
    #: Greatest gamma: values are raised to a power between 1 / (1 + gamma) and 1 + gamma, which leaves a band's least
    #: train value and its mean plus two standard deviations where they are.
    gamma: float = Field(default=0.0, ge=0, le=3)
    #: Greatest standard deviation of Gaussian noise, in standard deviations of each band.
    noise: float = Field(default=0.0, ge=0, le=5)
    #: Probability of each band to be missing from a patch; one always stays.
    band_dropout: float = Field(default=0.0, ge=0, lt=1)
    #: The bands whose values are changed and that drop out; [] = all (a dem may have to stay as it is).
    value_bands: tuple[str, ...] = ()
    #: Share of the patches that get a rectangle of another patch, where that is visible.
    cutmix: float = Field(default=0.0, ge=0, le=1)
    #: Share of the patches onto whose visible ground the pixels labelled `copy_paste_classes` of another are pasted.
    copy_paste: float = Field(default=0.0, ge=0, le=1)
    #: Classes that are pasted, by name.
    copy_paste_classes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "AugmentParams":
        if self.copy_paste and not self.copy_paste_classes:
            raise ValueError("train.patches.augmentation.copy_paste_classes must name the classes to paste where "
                             "copy_paste is above 0: got []")
        for name, value, needed in (("warped", self.warped != 1.0, _WARPS), ("value_bands", self.value_bands, _VALUES),
                                    ("elastic_smooth_px", self.elastic_smooth_px != 8.0, ("elastic_px",)),
                                    ("copy_paste_classes", self.copy_paste_classes, ("copy_paste",))):
            if value and not self._any(needed):
                warnings.warn(f"train.patches.augmentation.{name} has no effect: {', '.join(needed)} "
                              f"{'are' if len(needed) > 1 else 'is'} 0", stacklevel=2)
        if self.warped == 0 and self._any(_WARPS):
            warnings.warn("the warps of train.patches.augmentation have no effect: warped is 0", stacklevel=2)
        return self

    def _any(self, names: tuple[str, ...]) -> bool:
        return any(getattr(self, name) > 0 for name in names)

    @property
    def warps(self) -> bool:
        """Whether any patch is warped."""
        return self.warped > 0 and self._any(_WARPS)

    @property
    def changes_values(self) -> bool:
        """Whether band values are changed."""
        return self._any(_VALUES)

    @property
    def mixes(self) -> bool:
        """Whether any patch gets parts of another."""
        return self._any(("cutmix", "copy_paste"))

    def check(self, task: Task) -> None:
        """Cross-check with the task.

        Raises:
            ValueError: `copy_paste_classes` or `value_bands` has a name that the task has not.
        """
        for name in self.copy_paste_classes:
            task.class_id(name, "train.patches.augmentation.copy_paste_classes")
        if unknown := [band for band in self.value_bands if band not in task.bands]:
            raise ValueError(f"train.patches.augmentation.value_bands must be among task.bands {list(task.bands)}: "
                             f"got {unknown}")
