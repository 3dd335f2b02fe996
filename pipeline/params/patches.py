"""Part of section `train`: patches, and how they are drawn."""

from pydantic import Field

from pipeline.params.base import Section


class PatchParams(Section):
    """Windows cut in memory; an epoch is a number of draws, not a pass."""

    size_px: int = Field(default=128, ge=32, multiple_of=32)
    per_epoch: int = Field(default=64, ge=1)
    #: Flips and quarter turns (the dihedral group D4).
    flips_and_rotations: bool = True
