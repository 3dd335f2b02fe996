"""Section `task`: what is to be mapped. Every other section may refer to its bands and classes."""

import difflib
import warnings
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from pipeline.params.base import Section

#: What a texture channel may measure: `glcm_<property>_<band>`.
TEXTURE_PROPERTIES = ("contrast", "homogeneity", "energy", "correlation", "entropy")

_GLCM = "glcm_"


class TextureParams(Section):
    """Grey-level co-occurrence in a square window, of one band's reflectance in fixed steps."""

    #: Side of the window around each pixel, odd.
    window_px: int = Field(default=7, ge=3, le=63)
    #: Distance of the two pixels of a pair; diagonal steps are rounded as scikit-image rounds them.
    distance_px: int = Field(default=1, ge=1)
    #: Grey levels between `low` and `high`.
    levels: int = Field(default=32, ge=2, le=255)
    #: Reflectance of the lower bound of the first level and the upper bound of the last; values beyond are clipped.
    low: float = 0.0
    high: float = 0.5

    @model_validator(mode="after")
    def _consistent(self) -> "TextureParams":
        if self.window_px % 2 == 0:
            raise ValueError(f"texture.window_px must be odd: got {self.window_px}")
        if self.distance_px >= self.window_px:
            raise ValueError(f"texture.distance_px must be smaller than window_px={self.window_px}: "
                             f"got {self.distance_px}")
        if self.low >= self.high:
            raise ValueError(f"texture.low must be below texture.high={self.high:g}: got {self.low:g}")
        return self


def texture_of(channel: str) -> tuple[str, str] | None:
    """Property and band of a texture channel's name; None where it is none."""
    kind, _, band = channel.removeprefix(_GLCM).partition("_")
    return (kind, band) if channel.startswith(_GLCM) else None


def check_channels(channels: Sequence[str], bands: Sequence[str]) -> None:
    """Every channel is a band, a spyndex index or a texture of a band, and none occurs twice.

    Whether an index finds its bands is for pipeline.features.channels to say.

    Raises:
        ValueError: one is not; the message has the nearest known name.
    """
    if repeated := sorted({c for c in channels if channels.count(c) > 1}):
        raise ValueError(f"channel names must differ: {repeated} occur twice; remove one")
    textures = [f"{_GLCM}{kind}_{band}" for kind in TEXTURE_PROPERTIES for band in bands]
    others = [c for c in channels if c not in bands and c not in textures]
    if not others:
        return
    import spyndex

    for channel in others:
        texture = texture_of(channel)
        if texture and texture[0] in TEXTURE_PROPERTIES:
            raise ValueError(f"texture channel {channel} must be of one of task.bands {list(bands)}: "
                             f"got {texture[1]!r}; add that band or choose another")
        if channel not in spyndex.indices:
            known = [*bands, *textures] if texture else [*bands, *spyndex.indices, *textures]
            swapped = [name for name in known if sorted(name) == sorted(channel)]
            close = swapped or difflib.get_close_matches(channel, known, n=1, cutoff=0.4)
            remedy = f"did you mean {close[0]}?" if close else "see docs/channels.md"
            raise ValueError(f"a channel must be a band of {list(bands)}, a spyndex index or glcm_<property>_<band>: "
                             f"got {channel!r}; {remedy}")


class ClassSpec(Section):
    """One class: its name, and its colour in figures and maps (#rrggbb)."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")


class Task(Section):
    """Bands the model reads, and classes it tells apart; a class's place in the list is its id."""

    kind: Literal["segmentation"] = "segmentation"
    #: What is read from scenes, by name: bands, and any co-registered raster among them (dem, slope).
    bands: tuple[str, ...] = Field(min_length=1)
    #: What the network sees, in order: bands, spyndex indices, glcm_<property>_<band>; [] = the bands as they are.
    channels: tuple[str, ...] = ()
    texture: TextureParams = TextureParams()
    classes: tuple[ClassSpec, ...] = Field(min_length=2, max_length=200)
    #: The class of ground outside exhaustive labels; "" where labels are sparse and there is none.
    background: str = ""
    #: Digital numbers are divided by this to give reflectance (index formulas need it).
    reflectance_scale: float = Field(default=10000.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> "Task":
        names = [c.name for c in self.classes]
        if repeated := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"class names must differ: {repeated} occur twice; rename one")
        if "ignore" in names:
            raise ValueError("class names must not be 'ignore', which means no label: rename the class")
        if repeated := sorted({b for b in self.bands if self.bands.count(b) > 1}):
            raise ValueError(f"band names must differ: {repeated} occur twice; remove one")
        check_channels(self.channels, self.bands)
        if self.texture != TextureParams() and not any(map(texture_of, self.channels)):
            warnings.warn("task.texture has no effect: task.channels has no glcm_<property>_<band>", stacklevel=2)
        if self.background and self.background not in names:
            raise ValueError(f"background must be one of the classes {names}: got {self.background!r}")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names by id."""
        return tuple(c.name for c in self.classes)

    def class_id(self, name: str, subject: str) -> int:
        """The id of a class; `subject` is the parameter that named it.

        Raises:
            ValueError: the task has no such class.
        """
        if name not in self.class_names:
            raise ValueError(f"{subject} must name a class of task.classes {list(self.class_names)}: got {name!r}")
        return self.class_names.index(name)
