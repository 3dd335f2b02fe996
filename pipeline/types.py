"""Small value types and protocols that several layers share. Imports nothing of the project.

Shape legend: N samples, K classes, C channels, H rows, W columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

#: The one value that means "no label here", from label raster through loss to metrics.
IGNORE_INDEX = 255

#: The fold id of the sealed test part in fold.tif; train and val folds count from 0.
TEST_FOLD = 254

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels: `row`, `col` of the upper left corner (may be negative), height and width in pixels."""

    row: int
    col: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices; only right for windows inside their raster."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)


class Predictor(Protocol):
    """Anything that turns pixels into class probabilities: a network, an ONNX session, an ensemble."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the input channels (the bands, or what a recipe makes of them), in the order the predictor wants."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; the index is the class id."""
        ...

    def probabilities(self, image_NCHW: FloatArray) -> FloatArray:
        """float32 probabilities, shape NKHW, for channels in which NaN means invalid."""
        ...


class RunLog(Protocol):
    """Where a run's story goes. Receives and gives nothing back, so that logging can never change a result."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Record the configuration (nested mappings are flattened with dots)."""
        ...

    def tags(self, values: Mapping[str, str]) -> None:
        """Record identity, such as digests, under their full names."""
        ...

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record scores of one step (an epoch, or 0 for a final score)."""
        ...

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Record a data artifact the run has read, by its digest."""
        ...

    def artifact(self, path: Path, folder: str = "") -> None:
        """Record a finished file (copied by the receiver)."""
        ...


class SilentLog:
    """A RunLog that keeps nothing: for tests and for commands that are no runs."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Keep nothing."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Keep nothing."""

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Keep nothing."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep nothing."""
