"""Inner folds: the ground a trial is trained and scored on, without the split's own val fold and test part.

An inner val fold is a fold of the split that trains otherwise; what is left of these trains. The split's val fold
counts as test ground here, with everything that means: it neither trains nor scores, the network never sees it, and
train ground keeps the declared distance from it. So later val scores, and those of the test part, owe nothing to a
search.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from pipeline.digests import CODE_ROOT, canonical_sha256, file_sha256, folder_sha256, stage_code
from pipeline.errors import SplitError
from pipeline.features.channels import ChannelRecipe
from pipeline.inference.validation import ValScorer
from pipeline.params.task import Task
from pipeline.patches.ground import class_counts, open_ground
from pipeline.paths import Paths
from pipeline.scenes.store import SceneStore
from pipeline.splits.buffer import write_grounds
from pipeline.splits.split import Part, Split
from pipeline.tuning.space import TuneFile
from pipeline.types import BoolArray, UInt8Array


@dataclass(frozen=True)
class InnerSplit(Split):
    """A split whose val fold is an inner one, and whose own val fold is `sealed`: part of the test ground."""

    sealed: int = -1

    def mask(self, fold_HW: UInt8Array, part: Part) -> BoolArray:
        """Pixels of a part, given (a window of) the fold map."""
        mask = super().mask(fold_HW, part)
        sealed: BoolArray = fold_HW == self.sealed
        if part == "test":
            mask |= sealed
        else:
            mask &= ~sealed
        return mask


def inner_folds(split: Split, tune: TuneFile) -> tuple[int, ...]:
    """The inner val folds as asked; by default the first after the split's val fold that holds enough of every class.

    Raises:
        SplitError: one of them is no fold of the split or its own val fold, no fold would be left to train on, or none
            holds enough of every class.
    """
    if split.folds < 3:
        raise SplitError("a search must have a fold to train on beside the inner val fold and the split's own: got "
                         f"spatial_split.folds={split.folds}; set it to 3 or more")
    others = [(split.val_fold + i) % split.folds for i in range(1, split.folds)]
    if not tune.folds:
        if fit := [fold for fold in others if not split.too_little.get(fold)]:
            return (fit[0],)
        raise SplitError(f"{tune.name}: an inner val fold must hold enough of every class, by the rules of "
                         f"spatial_split for a val part: none of {sorted(others)} does; name `folds` in the tune file, "
                         "several of them, or set spatial_split.support_in: all_folds")
    for fold in tune.folds:
        if fold == split.val_fold:
            raise SplitError(f"{tune.name}: folds must not have the split's own val fold, {fold}, which a search keeps "
                             f"sealed: choose among {sorted(others)}")
        if fold not in others:
            raise SplitError(f"{tune.name}: folds must be among the split's, {sorted(others)}: got {fold}")
    return tune.folds


def inner_split(split: Split, fold: int, paths: Paths) -> InnerSplit:
    """The split with an inner val fold and its own sealed; what training may see then is computed once and kept.

    It lies in .kumulus/tune/inner/ of the repository, named by the digest of what it follows from, so that workers and
    later studies find it there.
    """
    inner = InnerSplit(**{name: getattr(split, name) for name in Split.__dataclass_fields__}, sealed=split.val_fold)
    origin = {"split": folder_sha256(split.folder), "fold": fold, "code": stage_code(CODE_ROOT, "spatial_split"),
              "own code": file_sha256(Path(__file__))}
    folder = paths.repository / ".kumulus/tune/inner" / canonical_sha256(origin)[:32]
    inner = replace(inner, val_fold=fold, grounds=folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            write_grounds(inner, folder)
        os.utime(folder)  # in use: `kumulus tune` takes away what has not been for a day
    return inner


def check_inner(store: SceneStore, inner: InnerSplit, task: Task, metric_class: str) -> None:
    """See that a trial can be trained and scored on an inner split.

    Args:
        store: the scenes.
        inner: the split.
        task: bands and classes.
        metric_class: the class whose iou is the metric; "" where all classes are scored.

    Raises:
        SplitError: a class has no train pixel, or the metric is defined nowhere on the inner val fold.
    """
    counts_K = class_counts(open_ground(store, inner), len(inner.classes))
    absent = [name for name, pixels in zip(inner.classes, counts_K, strict=True)
              if not pixels and name not in inner.unsupported]
    if absent:
        raise SplitError(f"every class must have labelled train pixels in every trial: with folds {inner.sealed} and "
                         f"{inner.val_fold} held out there are none of {absent}; choose other inner `folds`, or set "
                         "spatial_split.support_in: all_folds")
    labels_K = ValScorer(store, inner, ChannelRecipe.of(task), 0, 1).label_counts()[:len(inner.classes)]
    present = [name for name, pixels in zip(inner.classes, labels_K, strict=True) if pixels]
    if metric_class not in ("", *present) or len(present) < 2:
        needed = metric_class or "two classes"
        raise SplitError(f"the metric must be defined on every inner val fold, which needs labels of {needed}: fold "
                         f"{inner.val_fold} has {present or 'none'}; choose other inner `folds`")

