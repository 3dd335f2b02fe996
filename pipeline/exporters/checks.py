"""What a finished map must withstand: layout, tags, evaluate's counts, plausible class shares.

Everything is read back from the finished file.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import IntegrityError
from pipeline.evaluation.truths import Ground
from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import cog_layout, describe, open_windows
from pipeline.geo.windows import row_bands
from pipeline.metrics.confusion import Confusion, merge_blocks, per_block
from pipeline.params.export import ShareBounds
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.types import IGNORE_INDEX

#: A block's side in a COG; larger rasters must have overviews.
_BLOCK_PX = 512

#: Truth -> block -> its confusion matrix.
BlockConfusions = Mapping[str, Mapping[int, Confusion]]


def check_cog(path: Path, grid: Grid, tags: Mapping[str, str]) -> None:
    """The file is a valid COG on `grid`, uint8 with nodata 255, and carries `tags`.

    Raises:
        IntegrityError: it is not; the message names the property.
    """
    info, layout = describe(path), cog_layout(path)
    rules: list[tuple[str, object, object]] = [
        ("be laid out as a Cloud Optimized GeoTIFF", layout.layout, "COG"),
        ("be tiled in blocks of", layout.block_shape, (_BLOCK_PX, _BLOCK_PX)),
        (
            "have overviews where it is larger than a block",
            bool(layout.overviews),
            max(grid.shape) > _BLOCK_PX,
        ),
        ("have nodata", info.nodata, float(IGNORE_INDEX)),
        ("have type", info.dtype, "uint8"),
        ("have shape", info.grid.shape, grid.shape),
        ("have CRS", info.grid.crs, grid.crs),
    ]
    if not info.grid.transform.almost_equals(grid.transform, precision=1e-9 * max(grid.pixel_size)):
        rules.append(("have geotransform", tuple(info.grid.transform), tuple(grid.transform)))
    rules += [(f"carry tag {key}", info.tags.get(key), value) for key, value in tags.items()]
    for rule, actual, wanted in rules:
        if actual != wanted:
            raise IntegrityError(f"map {path.name} must {rule} {wanted!r}: got {actual!r}; write it anew")


def recorded_confusions(table: pd.DataFrame, part: str, k: int, method: str = "network") -> BlockConfusions:
    """The network's matrices in confusions.parquet: of its own map, or `network_tta`, with test-time augmentation."""
    chosen = table[(table["part"] == part) & (table["method"] == method)]
    result: dict[str, dict[int, Confusion]] = {}
    for (truth, block), rows in chosen.groupby(["truth", "block"], sort=True):
        matrix = np.zeros((k, k), dtype=np.int64)
        np.add.at(matrix, (rows["true"].to_numpy(), rows["predicted"].to_numpy()), rows["count"].to_numpy())
        result.setdefault(str(truth), {})[int(block)] = Confusion(matrix)
    return result


def map_confusions(
    maps: Mapping[str, Path], store: SceneStore, split: Split, folds: tuple[int, ...] = ()
) -> BlockConfusions:
    """The matrices of the val part, counted anew from finished class maps (scene id -> file).

    Args:
        maps: the finished files.
        store: the scenes.
        split: the split.
        folds: what was scored as val; () = the certificate's val fold.

    Raises:
        IntegrityError: a map has no class where evaluate scored one.
    """
    result: dict[str, Mapping[int, Confusion]] = {}
    for scene in store:
        ground, missing = Ground(scene, split, "val", folds), 0
        with open_windows(maps[scene.id]) as reader:
            for window in ground.bands():
                cut = ground.cut(*window.slices)
                predicted = reader.read(window, [1])[0][cut.scored_HW]
                missing += int(np.count_nonzero(predicted == IGNORE_INDEX))
                for name, truth in cut.truths.items():
                    blocks = cut.block_HW[cut.scored_HW]
                    counted = per_block(truth[cut.scored_HW], predicted, blocks, len(split.classes))
                    result[name] = merge_blocks(result.get(name, {}), counted)
        if missing:
            raise IntegrityError(
                f"map {maps[scene.id].name} must have a class at every valid pixel of the val part: "
                f"{missing} pixels have none; run `dvc repro --force evaluate export`"
            )
    return result


def check_confusions(
    recorded: BlockConfusions, counted: BlockConfusions, classes: Sequence[str], subject: str = "the exported maps"
) -> None:
    """The maps (or what `subject` names) reproduce evaluate's counts, exactly.

    Raises:
        IntegrityError: they do not; the message names the first block and cell that differ.
    """
    remedy = (
        "evaluate and export must use one checkpoint and machine: run `dvc repro --force evaluate export`"
    )
    if not recorded:
        raise IntegrityError(
            f"reports/evaluate/confusions.parquet must hold the network's val blocks: got none; {remedy}"
        )
    empty = Confusion.empty(len(classes))
    for truth in sorted(set(recorded) | set(counted)):
        before, after = recorded.get(truth, {}), counted.get(truth, {})
        for block in sorted(set(before) | set(after)):
            old, new = before.get(block, empty).matrix, after.get(block, empty).matrix
            if (old != new).any():
                true, predicted = np.argwhere(old != new)[0]
                raise IntegrityError(
                    f"{subject} must reproduce evaluate's confusion matrix exactly: block {block} "
                    f"against {truth} has {new[true, predicted]} pixels of {classes[true]} mapped as "
                    f"{classes[predicted]}, and evaluate counted {old[true, predicted]}; {remedy}"
                )


def check_same(predicted: BlockConfusions, finished: BlockConfusions) -> None:
    """Finished maps give the counts of what was predicted for them.

    Raises:
        IntegrityError: they do not; the message names the first block that differs.
    """
    for truth in sorted(set(predicted) | set(finished)):
        before, after = predicted.get(truth, {}), finished.get(truth, {})
        for block in sorted(set(before) | set(after)):
            if before.get(block) != after.get(block):
                raise IntegrityError(
                    f"the finished maps must hold what the ensemble predicted: block {block} counts otherwise "
                    f"against {truth}; run `dvc repro --force export`"
                )


def class_shares(path: Path, classes: Sequence[str]) -> dict[str, float]:
    """Class -> share of a finished map's valid pixels, read by row bands.

    Raises:
        IntegrityError: the map has no valid pixel, or an id that is no class.
    """
    counts, (height, width) = np.zeros(256, dtype=np.int64), describe(path).grid.shape
    with open_windows(path) as reader:
        for window in row_bands(height, width, _BLOCK_PX):
            counts += np.bincount(reader.read(window, [1]).ravel(), minlength=256)
    valid, known = int(counts[:IGNORE_INDEX].sum()), int(counts[: len(classes)].sum())
    if valid == 0 or known != valid:
        raise IntegrityError(
            f"map {path.name} must hold ids of {list(classes)} only, and some: got {valid} valid pixels, "
            f"{valid - known} of them of no class; run `dvc repro --force export`"
        )
    return {name: float(counts[i] / valid) for i, name in enumerate(classes)}


def check_shares(scene: str, shares: Mapping[str, float], bounds: Mapping[str, ShareBounds]) -> None:
    """The class shares of a map lie in the declared bounds.

    Raises:
        IntegrityError: one does not; the message has the actual share.
    """
    for name, bound in bounds.items():
        if name in shares and not bound.min <= shares[name] <= bound.max:
            raise IntegrityError(
                f"map of scene {scene} must have a share of {name} from {bound.min:g} to {bound.max:g} "
                f"(export.class_shares): got {shares[name]:.4g}; look at the map, then mend the model or "
                "the bounds"
            )


def warn_unused(bounds: Iterable[str], classes: Sequence[str]) -> None:
    """Warn about bounds of classes that the split merged away, which bound nothing."""
    for name in bounds:
        if name not in classes:
            warnings.warn(
                f"export.class_shares.{name} has no effect: the split merged that class into another",
                stacklevel=2,
            )
