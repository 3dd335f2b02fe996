"""Trained members as one predictor: probabilities are averaged over the members.

Shape legend: N images, C channels, K classes, H rows, W columns.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.errors import ModelError
from pipeline.features.channels import ChannelRecipe
from pipeline.inference.tta import average, d4
from pipeline.networks.members import load_member, member_folders
from pipeline.networks.segmenter import Segmenter
from pipeline.types import FloatArray


class NetworkPredictor:
    """One or more members with the same channel recipe and classes."""

    def __init__(self, segmenters: Sequence[Segmenter], device: str = "cpu", *, tta: bool = False) -> None:
        """`tta` averages each member over the eight flips and turns of an image (pipeline.inference.tta).

        Raises:
            ModelError: channels or classes differ between the members.
        """
        recipes, classes = {s.spec.recipe for s in segmenters}, {s.spec.classes for s in segmenters}
        if len(recipes) != 1 or len(classes) != 1:
            raise ModelError("members of an ensemble must share channels and classes: got "
                             f"{sorted(map(str, recipes))} and {sorted(classes)}")
        self._segmenters = [s.to(device).eval() for s in segmenters]
        self._device, self._tta = device, tta

    @classmethod
    def load(cls, checkpoint: Path, device: str = "cpu") -> "NetworkPredictor":
        """All members of a checkpoint folder."""
        return cls([load_member(folder) for folder in member_folders(checkpoint)], device)

    @property
    def bands(self) -> tuple[str, ...]:
        """Input channels in order."""
        return self._segmenters[0].spec.channels

    @property
    def recipe(self) -> ChannelRecipe:
        """How they come from a scene's bands."""
        return self._segmenters[0].spec.recipe

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by id."""
        return self._segmenters[0].spec.classes

    def probabilities(self, image_NCHW: FloatArray) -> FloatArray:
        """float32 probabilities NKHW for channels NCHW, NaN = invalid.

        Raises:
            ModelError: height or width is not a multiple the network can take.
        """
        members = range(len(self._segmenters))
        if not self._tta:
            return average([self.of(i, image_NCHW) for i in members])
        return average([average(self.views_of(i, image_NCHW)) for i in members])

    def views_of(self, place: int, image_NCHW: FloatArray) -> list[FloatArray]:
        """One member's probabilities NKHW from the eight views of the images; the first is `of`."""
        return d4(lambda image: self.of(place, image), image_NCHW)

    def of(self, place: int, image_NCHW: FloatArray) -> FloatArray:
        """The probabilities NKHW of the member at that place in the order of the members."""
        segmenter = self._segmenters[place]
        multiple = segmenter.spec.size_multiple
        if image_NCHW.shape[-2] % multiple or image_NCHW.shape[-1] % multiple:
            raise ModelError(f"image height and width must be multiples of {multiple}: got {image_NCHW.shape[-2:]}; "
                             "set evaluate.tiles.size_px accordingly")
        image = torch.from_numpy(image_NCHW).to(self._device)
        with torch.inference_mode():
            decoded = segmenter.decode(segmenter(image))
        probs: FloatArray = decoded.cpu().numpy().astype(np.float32, copy=False)
        return probs
