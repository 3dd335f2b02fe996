"""Class and confidence map of a scene as Cloud Optimized GeoTIFFs, with a QGIS style beside the class map.

Rows are predicted, decided and written as they come, so memory is that of one row of tiles. The confidence is
the largest class probability in whole percent (uint8, 255 = no data): small, and no claim to more digits.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.exporters.qgis_style import write_style
from pipeline.geo.raster_io import create, write_cog
from pipeline.inference.mosaic import decide
from pipeline.inference.tiles import PixelSource, predict
from pipeline.params.evaluate import TileParams
from pipeline.tracking.names import CLASSES_TAG, PROVENANCE_TAG
from pipeline.types import IGNORE_INDEX, FloatArray, Predictor, UInt8Array, Window


@dataclass(frozen=True)
class MapFiles:
    """What was written for one scene, and the share of the valid pixels that each class has in the map."""

    class_map: Path
    confidence: Path
    style: Path
    shares: Mapping[str, float]

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        """All files."""
        return self.class_map, self.confidence, self.style


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green, blue from 0 to 255 of a `#rrggbb`."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def percent(confidence_HW: FloatArray) -> UInt8Array:
    """Confidence 0 to 1 as whole percent; 255 where it is NaN."""
    whole = np.rint(np.nan_to_num(confidence_HW * 100, nan=IGNORE_INDEX))
    result: UInt8Array = whole.astype(np.uint8)
    return result


def map_tags(provenance: str, classes: Sequence[str]) -> dict[str, str]:
    """The tags of a map: class names by id, and the digest of its statement if there is one."""
    stated = {PROVENANCE_TAG: provenance} if provenance else {}
    return {**stated, CLASSES_TAG: json.dumps(list(classes))}


def write_maps(
    predictor: Predictor,
    source: PixelSource,
    tiles: TileParams,
    folder: Path,
    name: str,
    colors: Sequence[str],
    tags: Mapping[str, str],
) -> MapFiles:
    """Predict a scene into `folder`: `<name>_class.tif`, `<name>_confidence.tif`, `<name>_class.qml`."""
    return write_bands(predict(predictor, source, tiles), predictor.classes, source, folder, name, colors, tags)


def write_bands(
    bands: Iterable[tuple[Window, FloatArray]],
    class_names: Sequence[str],
    source: PixelSource,
    folder: Path,
    name: str,
    colors: Sequence[str],
    tags: Mapping[str, str],
) -> MapFiles:
    """As `write_maps`, from probabilities KHW of full-width windows that cover the scene from top to bottom."""
    files = MapFiles(
        folder / f"{name}_class.tif", folder / f"{name}_confidence.tif", folder / f"{name}_class.qml", {}
    )
    table = {i: rgb(c) for i, c in enumerate(colors)}
    counts = np.zeros(256, dtype=np.int64)
    with TemporaryDirectory(dir=folder, prefix=".maps-") as scratch:
        classes_tif, confidence_tif = Path(scratch) / "class.tif", Path(scratch) / "confidence.tif"
        with (
            create(classes_tif, source.grid, "uint8", ["class"], IGNORE_INDEX, tags, table) as class_writer,
            create(
                confidence_tif, source.grid, "uint8", ["confidence_percent"], IGNORE_INDEX, tags
            ) as writer,
        ):
            for window, probs in bands:
                classes, confidence = decide(probs, source.valid(window))
                counts += np.bincount(classes.ravel(), minlength=256)
                class_writer.write(classes, window)
                writer.write(percent(confidence), window)
        write_cog(files.class_map, classes_tif, "mode")
        write_cog(files.confidence, confidence_tif, "average")
    write_style(files.style, class_names, colors)
    valid = max(int(counts[:IGNORE_INDEX].sum()), 1)
    shares = {c: float(counts[i]) / valid for i, c in enumerate(class_names)}
    return MapFiles(*files.paths, shares)
