"""Apply an exported model from its .onnx file alone: channel recipe, classes and limits are in its metadata.

Shape legend: N images, C bands, K classes, H rows, W columns.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import KumulusError, ModelError
from pipeline.features.channels import ChannelRecipe
from pipeline.networks.spec import ModelSpec
from pipeline.params.evaluate import TileParams
from pipeline.params.task import TextureParams
from pipeline.types import FloatArray

#: Version of the metadata's layout; a reader refuses others.
FORMAT = "kumulus-onnx-2"

#: The layout of before there were channels: the network sees the bands as they are.
_PLAIN_FORMAT = "kumulus-onnx-1"

#: What every key of a Kumulus file's metadata starts with.
PREFIX = "kumulus."

#: Names of the graph's one input and one output.
INPUT, OUTPUT = "image", "probabilities"


@dataclass(frozen=True)
class ModelFacts:
    """What a user of a model must know: channels, classes, what it was trained on, its statement's digest."""

    recipe: ChannelRecipe
    classes: tuple[str, ...]
    #: #rrggbb by class id.
    colors: tuple[str, ...]
    background: str
    #: Least and largest value the model has seen, per channel.
    low: tuple[float, ...]
    high: tuple[float, ...]
    #: The same per band, in scene units: what a scene is checked against.
    band_low: tuple[float, ...]
    band_high: tuple[float, ...]
    #: Height and width of an input must be multiples of this.
    size_multiple: int
    #: Ground size of the training pixels in metres.
    pixel_size_m: float
    #: sha256 of provenance.json; "" for a model that was never exported.
    provenance: str
    #: The windows it was evaluated and exported with.
    tiles: TileParams = field(default_factory=TileParams)
    #: Whether the graph averages over flips and turns of its input (`none` or `d4`).
    tta: str = "none"

    @property
    def bands(self) -> tuple[str, ...]:
        """What is read from a scene, in the recipe's order."""
        return self.recipe.bands

    @property
    def channels(self) -> tuple[str, ...]:
        """What the network sees, in order."""
        return self.recipe.channels

    @property
    def reflectance_scale(self) -> float:
        """Scene values divided by this are reflectance."""
        return self.recipe.reflectance_scale

    @classmethod
    def of(cls, specs: Sequence[ModelSpec], provenance: str, tiles: TileParams | None = None,
           tta: str = "none") -> "ModelFacts":
        """The facts of an ensemble: the first member's, with the range that any member has seen."""
        first = specs[0]
        return cls(
            first.recipe,
            first.classes,
            first.colors,
            first.background,
            tuple(min(v) for v in zip(*(s.low for s in specs), strict=True)),
            tuple(max(v) for v in zip(*(s.high for s in specs), strict=True)),
            tuple(min(v) for v in zip(*(s.band_low for s in specs), strict=True)),
            tuple(max(v) for v in zip(*(s.band_high for s in specs), strict=True)),
            max(s.size_multiple for s in specs),
            first.pixel_size_m,
            provenance,
            tiles or TileParams(),
            tta,
        )

    def to_metadata(self) -> dict[str, str]:
        """Key -> JSON text (plain text for names and digests), sorted by key."""
        texture = self.recipe.texture
        return {
            PREFIX + "background": self.background,
            PREFIX + "band_high": json.dumps(self.band_high),
            PREFIX + "band_low": json.dumps(self.band_low),
            PREFIX + "bands": json.dumps(self.bands),
            PREFIX + "channels": json.dumps(self.channels),
            PREFIX + "classes": json.dumps(self.classes),
            PREFIX + "colors": json.dumps(self.colors),
            PREFIX + "format": FORMAT,
            PREFIX + "high": json.dumps(self.high),
            PREFIX + "low": json.dumps(self.low),
            PREFIX + "pixel_size_m": json.dumps(self.pixel_size_m),
            PREFIX + "provenance": self.provenance,
            PREFIX + "reflectance_scale": json.dumps(self.reflectance_scale),
            PREFIX + "size_multiple": json.dumps(self.size_multiple),
            PREFIX + "texture": texture.model_dump_json() if texture else "null",
            PREFIX + "tiles": self.tiles.model_dump_json(),
            **({PREFIX + "tta": self.tta} if self.tta != "none" else {}),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], subject: str) -> "ModelFacts":
        """The inverse of to_metadata; `subject` names the file in errors.

        Raises:
            ModelError: the metadata are not Kumulus's, or of another format.
        """
        if metadata.get(PREFIX + "format") == _PLAIN_FORMAT:
            plain = {"channels": "bands", "band_low": "low", "band_high": "high"}
            same = {PREFIX + new: metadata[PREFIX + old] for new, old in plain.items() if PREFIX + old in metadata}
            return cls.from_metadata(
                {**metadata, **same, PREFIX + "texture": "null", PREFIX + "format": FORMAT}, subject
            )
        if metadata.get(PREFIX + "format") != FORMAT:
            raise ModelError(
                f"model {subject} must be an ONNX file that Kumulus exported ({PREFIX}format {FORMAT}): got "
                f"{metadata.get(PREFIX + 'format', 'no such entry')!r}; export it anew"
            )
        values: dict[str, Any] = {}
        try:
            texture = json.loads(metadata[PREFIX + "texture"])
            values["recipe"] = ChannelRecipe.named(
                tuple(json.loads(metadata[PREFIX + "bands"])),
                tuple(json.loads(metadata[PREFIX + "channels"])),
                TextureParams.model_validate(texture) if texture is not None else None,
                json.loads(metadata[PREFIX + "reflectance_scale"]),
            )
            for key in ("classes", "colors", "low", "high", "band_low", "band_high"):
                values[key] = tuple(json.loads(metadata[PREFIX + key]))
            for key in ("size_multiple", "pixel_size_m"):
                values[key] = json.loads(metadata[PREFIX + key])
            for key in ("background", "provenance"):
                values[key] = metadata[PREFIX + key]
            if tiles := metadata.get(PREFIX + "tiles"):  # files of before have none
                values["tiles"] = TileParams.model_validate_json(tiles)
            values["tta"] = metadata.get(PREFIX + "tta", "none")
        except (KeyError, TypeError, ValueError, KumulusError) as error:
            raise ModelError(
                f"model {subject} must have readable Kumulus metadata: {' '.join(repr(error).split())}; "
                "export it anew"
            ) from error
        return cls(**values)


class OnnxPredictor:
    """An exported model in onnxruntime, on the CPU; implements types.Predictor."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Open `path`; `threads` limits onnxruntime's threads (0 leaves its own choice).

        Raises:
            ModelError: the file is missing, no ONNX model, or not one of Kumulus's.
        """
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

        if not path.is_file():
            raise ModelError(f"model {path} must be an .onnx file: nothing is there; run `dvc repro export`")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except (
            ort_errors.InvalidProtobuf,
            ort_errors.InvalidGraph,
            ort_errors.Fail,
            ort_errors.InvalidArgument,
        ) as error:
            raise ModelError(
                f"model {path} must be an ONNX model that onnxruntime can open: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
        self.facts = ModelFacts.from_metadata(self._session.get_modelmeta().custom_metadata_map, path.name)

    @property
    def bands(self) -> tuple[str, ...]:
        """Input channels in order."""
        return self.facts.channels

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by id."""
        return self.facts.classes

    def probabilities(self, image_NCHW: FloatArray) -> FloatArray:
        """float32 probabilities NKHW for channels NCHW, NaN = invalid.

        Raises:
            ModelError: the number of channels, or height or width, is none the network can take.
        """
        multiple = self.facts.size_multiple
        if image_NCHW.shape[1] != len(self.bands):
            raise ModelError(
                f"image must have the model's {len(self.bands)} channels {list(self.bands)}: "
                f"got {image_NCHW.shape[1]}"
            )
        if image_NCHW.shape[-2] % multiple or image_NCHW.shape[-1] % multiple:
            raise ModelError(
                f"image height and width must be multiples of {multiple}: got {image_NCHW.shape[-2:]}; "
                "choose another tile size"
            )
        probs: FloatArray = self._session.run(
            [OUTPUT], {INPUT: np.ascontiguousarray(image_NCHW, dtype=np.float32)}
        )[0]
        return probs
