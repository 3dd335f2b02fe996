"""What a trained member is: everything model.json says, so that weights alone are enough to rebuild and apply it."""

from typing import Any

from pydantic import Field, model_validator

from pipeline.errors import KumulusError
from pipeline.features.channels import ChannelRecipe
from pipeline.params.base import Section
from pipeline.params.network import NetworkParams
from pipeline.params.task import TextureParams


class Ancestor(Section):
    """Weights that a member's weights come from, and the ground that their own training held out."""

    sha256: str
    #: Of their model.json, by which channels and classes were matched; "" = not known.
    spec_sha256: str = ""
    #: sha256 of the split's folder they were trained on, and the fold they held out; "" and -1 = not known.
    split: str = ""
    val_fold: int = -1


class ModelSpec(Section):
    """Architecture, channel recipe, classes by id, and statistics of the member's own train pixels."""

    network: NetworkParams
    #: What is read from a scene, in the order the recipe wants it.
    bands: tuple[str, ...] = Field(min_length=1)
    #: What the network sees, in order. A model.json without channels, of before there were any, means the bands.
    channels: tuple[str, ...] = Field(min_length=1)
    #: None where no channel is a texture.
    texture: TextureParams | None = None
    #: Class names; the index is the id in the network's output.
    classes: tuple[str, ...] = Field(min_length=2)
    colors: tuple[str, ...]
    background: str
    reflectance_scale: float
    #: Per channel, over the train pixels where it is defined; bands and whatever passes as it is in scene units.
    mean: tuple[float, ...]
    std: tuple[float, ...]
    #: Least and largest value per channel.
    low: tuple[float, ...]
    high: tuple[float, ...]
    #: Least and largest valid train value per band, in scene units: the range the model has seen.
    band_low: tuple[float, ...]
    band_high: tuple[float, ...]
    patch_size_px: int
    #: Height and width of an input must be multiples of this.
    size_multiple: int
    #: Nominal pixel size of the training scenes in metres on the ground.
    pixel_size_m: float
    #: sha256 of the split's folder: scores are only honest on ground that this very split held out.
    split: str
    #: What the member was seeded with, and the fold that it held out as its val part. A model.json of before there
    #: were several members says neither (-1): the project's seed, the certificate's val fold.
    seed: int = -1
    val_fold: int = -1
    #: sha256 of the weights it started from; "" = drawn at random.
    warm_start: str = ""
    #: Those weights, what they had started from, and so on back; not in model.json where there is nothing of the kind.
    ancestry: tuple[Ancestor, ...] = Field(default=(), exclude_if=lambda ancestry: not ancestry)
    #: Added to the logits, by class, before anything is decided; () = nothing (see pipeline.training.prior).
    logit_bias: tuple[float, ...] = ()
    #: What the member's val scores chose of it, of `epoch`, `stop`, `rate` and `temperature` (TrainParams.val_chose);
    #: None in a model.json of before it was said.
    val_chose: tuple[str, ...] | None = None
    #: What the logits, bias included, are divided by; 1 = not calibrated.
    temperature: float = Field(default=1.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _bands_as_they_are(cls, values: Any) -> Any:
        if isinstance(values, dict) and "channels" not in values:
            plain = {"channels": "bands", "band_low": "low", "band_high": "high"}
            return {**{new: values[old] for new, old in plain.items() if old in values}, **values}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> "ModelSpec":
        for name, per in (("mean", "channels"), ("std", "channels"), ("low", "channels"), ("high", "channels"),
                          ("band_low", "bands"), ("band_high", "bands")):
            if len(getattr(self, name)) != len(getattr(self, per)):
                raise ValueError(f"{name} must have one value for each of {per} {list(getattr(self, per))}: "
                                 f"got {list(getattr(self, name))}")
        if len(self.logit_bias) not in (0, len(self.classes)):
            raise ValueError(f"logit_bias must have one value for each of classes {list(self.classes)}, or be empty: "
                             f"got {list(self.logit_bias)}")
        try:
            _ = self.recipe
        except KumulusError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def recipe(self) -> ChannelRecipe:
        """How the network's channels come from a scene's bands."""
        return ChannelRecipe.named(self.bands, self.channels, self.texture, self.reflectance_scale)
