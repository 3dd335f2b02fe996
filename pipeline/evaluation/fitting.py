"""Baselines fitted on the ground that the network they are held against was trained on, and applied where it is scored.

Out of fold, a fold's pixels are predicted by baselines that never saw that fold, as the network's are. The test part
is predicted by the ensemble of all members, so its baselines may learn from all ground that any member learnt from:
what at least one member's split leaves for training. Beside one val fold nothing changes: its train ground.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.baselines.baseline import Baseline
from pipeline.baselines.methods import build
from pipeline.evaluation.truths import Ground, ScoredPart
from pipeline.geo.raster_io import create
from pipeline.params.evaluate import BaselineParams
from pipeline.params.task import Task
from pipeline.patches.ground import scene_bands
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.types import IGNORE_INDEX, UInt8Array, Window


@dataclass(frozen=True)
class Fitted:
    """Baselines by name; where there are several folds, one of each name and fold."""

    by_fold: Mapping[int, Mapping[str, Baseline]]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, weakest first."""
        return tuple(next(iter(self.by_fold.values())))

    def bands(self, name: str, ground: Ground) -> Iterator[tuple[Window, UInt8Array]]:
        """Full-width windows of a scene with the class ids of its scored pixels, each by its fold's baseline."""
        for window in ground.bands():
            cut = ground.cut(*window.slices)
            if len(self.by_fold) == 1:
                (only,) = self.by_fold.values()
                yield window, only[name].predict(ground.scene, window, cut.scored_HW)
                continue
            result = np.full(cut.scored_HW.shape, IGNORE_INDEX, dtype=np.uint8)
            for fold, baselines in self.by_fold.items():
                wanted_HW = cut.scored_HW & (cut.fold_HW == fold)
                if wanted_HW.any():
                    result[wanted_HW] = baselines[name].predict(ground.scene, window, wanted_HW)[wanted_HW]
            yield window, result


def fitted(params: BaselineParams, task: Task, store: SceneStore, split: Split, seed: int, part: ScoredPart,
           folds: Sequence[int], scratch: Path) -> Fitted:
    """The baselines that params.yaml asks for.

    Args:
        params: which, and how.
        task: bands and classes.
        store: the scenes.
        split: the split.
        seed: the project's.
        part: what will be scored.
        folds: what the members held out, each once; () = the certificate's val fold.
        scratch: folder for what other folds may train on, some bytes a pixel and fold, until the baselines are fitted.

    Raises:
        SplitError: train ground has no labelled pixel.
        LabelError: boosting has fewer than two classes to learn.
    """
    learns = params.majority or params.boosting or params.boosting_focal
    if not learns or set(folds) <= {split.val_fold}:
        return Fitted({split.val_fold: build(params, task, store, split, seed)})
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="grounds-", dir=scratch) as folder:
        splits = {fold: split.with_val_fold(fold, Path(folder)) for fold in folds}
        if part == "test" and len(splits) > 1:
            splits = {split.val_fold: _any_trains(list(splits.values()), store, Path(folder) / "any")}
        return Fitted({fold: build(params, task, store, own, seed) for fold, own in splits.items()})


def _any_trains(splits: Sequence[Split], store: SceneStore, folder: Path) -> Split:
    """The split with the ground that may train in at least one of these, and is seen in at least one."""
    for scene in store:
        with create(folder / scene.id / "ground.tif", scene.grid, "uint8", ["ground"]) as writer:
            for window in scene_bands(scene):
                # Outside, held back and trains are 0, 1 and 2: the largest is the freest.
                seen = [split.ground_map(scene.id)[window.slices] for split in splits]
                writer.write(np.maximum.reduce(seen), window)
    return replace(splits[0], grounds=folder)
