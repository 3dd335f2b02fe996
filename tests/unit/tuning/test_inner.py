"""Inner folds: the split's own val fold counts as test ground, and train ground keeps its distance from all that is."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from pipeline.errors import SplitError
from pipeline.geo import raster_io
from pipeline.params.task import Task
from pipeline.paths import Paths
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import GROUND_HELD_BACK, GROUND_OUTSIDE, GROUND_TRAINS, Split
from pipeline.tuning.inner import check_inner, inner_folds, inner_split
from pipeline.types import TEST_FOLD
from tests.unit.tuning.tuning_setup import params_of, tune_of


@pytest.fixture
def root(tiny_data, tmp_path):
    """A project's folder with the tiny store: fold 0 is val, 1 and 2 train; 10 m pixels."""
    tiny_data("tiny/data", buffer_m=20)
    return tmp_path / "tiny"


def split_of(root: Path) -> Split:
    return Split.open(root / "data/splits")


def with_certificate(root: Path, **changes: object) -> Split:
    file = root / "data/splits/certificate.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return split_of(root)


def test_every_fold_is_one_part_and_the_sealed_one_is_test(root):
    inner = inner_split(split_of(root), 2, Paths(root))
    folds = np.array([[0, 1, 2, TEST_FOLD, 255]], dtype=np.uint8)
    assert inner.mask(folds, "train").tolist() == [[False, True, False, False, False]]
    assert inner.mask(folds, "val").tolist() == [[False, False, True, False, False]]
    assert inner.mask(folds, "test").tolist() == [[True, False, False, True, False]]
    assert (inner.val_fold, inner.sealed, inner.folds, inner.classes) == (2, 0, 3, split_of(root).classes)


def test_train_ground_keeps_the_buffer_from_the_inner_val_fold_the_sealed_one_and_test(root):
    split = split_of(root)
    fold = np.array(split.fold_map("one"))
    held = np.isin(fold, (0, 2, TEST_FOLD))
    reach = distance_transform_edt(~held, sampling=split_grid(split).ground_pixel_m[::-1])
    expected = np.where(fold != 1, GROUND_OUTSIDE, np.where(reach > 20, GROUND_TRAINS, GROUND_HELD_BACK))
    inner = inner_split(split, 2, Paths(root))
    assert np.array_equal(np.array(inner.ground_map("one")), expected)
    assert (np.array(split.ground_map("one")) == GROUND_TRAINS)[fold == 2].any()


def split_grid(split: Split):
    return raster_io.describe(split.folder / "one/fold.tif").grid


def test_what_was_computed_is_found_again_until_the_split_changes(root):
    first = inner_split(split_of(root), 1, Paths(root))
    marked = first.grounds / "mark"
    marked.touch()
    assert inner_split(split_of(root), 1, Paths(root)).grounds == first.grounds
    assert marked.exists()
    assert inner_split(split_of(root), 2, Paths(root)).grounds != first.grounds
    assert inner_split(with_certificate(root, buffer_m=40.0), 1, Paths(root)).grounds != first.grounds
    assert first.grounds.is_relative_to(root / ".kumulus/tune")
    assert not (root / "data/splits/fold1").exists()


def test_the_first_fold_with_enough_of_every_class_is_the_default(root):
    assert inner_folds(split_of(root), tune_of()) == (1,)
    assert inner_folds(split_of(root), tune_of(folds=[2, 1])) == (2, 1)
    thin = {"1": {"too_little_of": ["water"]}}
    assert inner_folds(with_certificate(root, by_fold=thin), tune_of()) == (2,)
    assert inner_folds(with_certificate(root, val_fold=2, by_fold={}), tune_of()) == (0,)
    both = {**thin, "2": {"too_little_of": ["settlement"]}}
    with pytest.raises(SplitError, match=r"must hold enough of every class.*none of \[1, 2\] does; name `folds`"):
        inner_folds(with_certificate(root, val_fold=0, by_fold=both), tune_of())
    assert inner_folds(with_certificate(root, by_fold=both), tune_of(folds=[2])) == (2,)


@pytest.mark.parametrize(("folds", "said"), [
    ([0], r"must not have the split's own val fold, 0, which a search keeps sealed: choose among \[1, 2\]"),
    ([1, 3], r"folds must be among the split's, \[1, 2\]: got 3")])
def test_other_folds_are_refused(root, folds, said):
    with pytest.raises(SplitError, match=said):
        inner_folds(split_of(root), tune_of(folds=folds))


def test_a_split_of_two_folds_leaves_nothing_to_train_on(root):
    with pytest.raises(SplitError, match=r"got spatial_split.folds=2; set it to 3 or more"):
        inner_folds(with_certificate(root, folds=2), tune_of())


def relabelled(root: Path, fold: int, without: int) -> None:
    path = root / "data/scenes/one/labels.tif"
    labels, described = np.array(raster_io.memory_map(path)), raster_io.describe(path)
    labels[(np.array(split_of(root).fold_map("one")) == fold) & (labels == without)] = 255
    raster_io.write(path, labels, described.grid, described.bands)


def check(root: Path, fold: int, metric_class: str) -> None:
    store = SceneStore.open(root / "data/scenes")
    check_inner(store, inner_split(split_of(root), fold, Paths(root)), params_of().section(Task), metric_class)


def test_a_class_that_cannot_be_learnt_or_scored_is_told_before_the_first_trial(root):
    check(root, 1, "water")
    relabelled(root, 2, without=2)
    with pytest.raises(SplitError, match=r"with folds 0 and 1 held out there are none of \['water'\]"):
        check(root, 1, "water")
    with pytest.raises(SplitError, match=r"needs labels of water: fold 2 has \['background', 'settlement'\]"):
        check(root, 2, "water")
    check(root, 2, "")
    relabelled(root, 2, without=1)
    with pytest.raises(SplitError, match=r"needs labels of two classes: fold 2 has \['background'\]"):
        check(root, 2, "")
