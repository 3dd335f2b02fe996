import numpy as np
import pytest

from pipeline.errors import SplitError
from pipeline.params.spatial_split import SplitParams
from pipeline.splits.plan import merge_classes, plan_split
from tests.unit.splits.conftest import StoreMaker

#: 16 blocks of 4 px; class b fills a corner of each, class c is in two blocks only, class d nowhere.
LABELS = np.zeros((16, 16), dtype=np.uint8)
LABELS[::4, ::4] = 1
LABELS[1, 1:3] = LABELS[9, 9:11] = 2
SETTINGS = SplitParams(block_size_m=40, folds=3, test_fraction=0.25, min_pixels=2, attempts=100)


def settings(**changes: object) -> SplitParams:
    return SplitParams(**{**SETTINGS.model_dump(), **changes})


def test_a_supported_task_keeps_its_classes(make_store: StoreMaker) -> None:
    plan = plan_split(make_store({"s": np.where(LABELS == 1, 1, 0).astype(np.uint8)}), SETTINGS, 42)
    assert plan.classes == ("a", "b")
    assert plan.class_map == (0, 1)
    assert plan.lut[:3].tolist() == [0, 1, 255]
    assert plan.unsupported == ()
    assert plan.fold_of_block.size == 16


def test_error_names_the_class_what_it_has_and_the_remedies(make_store: StoreMaker) -> None:
    store = make_store({"s": LABELS}, ("a", "b", "c"))
    message = (r"class c \(4 px in 2 objects in 2 blocks\) must have at least 2 labelled pixels and 1 object in each "
               r".* of 40 m blocks .*; no block size down to 40 m would do: lower spatial_split.min_pixels, or declare "
               r"rare_classes: merge \(with merge_into\) or report_only$")
    with pytest.raises(SplitError, match=message):
        plan_split(store, SETTINGS, 42)


def test_error_names_the_largest_block_that_would_do(make_store: StoreMaker) -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[2::4] = labels[3::4] = 1
    labels[:8, :8] = 2  # one block of 8 px holds it all; blocks of 7: 49, 7, 7 and 1 px; of 6: 36, 12, 12, 4
    big = settings(block_size_m=80, folds=2, min_pixels=8)
    store = make_store({"s": labels}, ("a", "b", "c"))
    with pytest.raises(SplitError, match=r"class c \(64 px in 1 object in 1 block\)") as caught:
        plan_split(store, big, 42)
    assert "; the largest feasible block is 60 m: set spatial_split.block_size_m to it, lower" in str(caught.value)
    assert plan_split(store, settings(block_size_m=60, folds=2, min_pixels=8), 42).blocks.count == 9


def test_the_search_may_end_above_what_was_asked(make_store: StoreMaker) -> None:
    """25 blocks of 5 px have 81 px farther than 25 m from other blocks, 4 of 12 px have 400."""
    small = settings(block_size_m=50, buffer_m=24, folds=2, min_pixels=40)
    store = make_store({"s": (np.indices((24, 24)).sum(axis=0) % 2).astype(np.uint8)})
    with pytest.raises(SplitError, match=r"the largest feasible block is \d+ m") as caught:
        plan_split(store, small, 42)
    size = float(str(caught.value).split("block is ")[1].split(" m")[0])
    assert size > 50
    assert plan_split(store, settings(block_size_m=size, buffer_m=24, folds=2, min_pixels=40), 42)


def test_all_folds_must_have_support_where_that_is_asked(make_store: StoreMaker) -> None:
    labels = np.zeros((16, 16), dtype=np.uint8)
    labels[:4, ::4] = 1  # four blocks hold class b
    store = make_store({"s": labels})
    plan = plan_split(store, settings(folds=3, support_in="all_folds"), 42)
    held = plan.fold_of_block[plan.support.pixels[:, 1] > 0]
    assert sorted(held.tolist()) == [0, 1, 2, 254]
    with pytest.raises(SplitError, match=r"class b .* supports all classes with any fold as val; "):
        plan_split(store, settings(folds=4, support_in="all_folds"), 42)
    assert plan_split(store, settings(folds=4), 42).classes == ("a", "b")


def test_error_for_a_class_without_labels(make_store: StoreMaker) -> None:
    with pytest.raises(SplitError, match=r"class b \(no labelled pixel at all\) must have"):
        plan_split(make_store({"s": np.zeros((16, 16), np.uint8)}), SETTINGS, 42)


def test_merge_shrinks_the_class_list(make_store: StoreMaker) -> None:
    store = make_store({"s": LABELS}, ("a", "b", "c"))
    plan = plan_split(store, settings(rare_classes="merge", merge_into={"c": "b"}), 42)
    assert plan.classes == ("a", "b")
    assert plan.class_map == (0, 1, 1)
    assert plan.merged == {"c": "b"}
    assert plan.support.pixels[:, 1].sum() == 16 + 4


def test_merge_that_does_not_help_is_an_error(make_store: StoreMaker) -> None:
    store = make_store({"s": LABELS}, ("a", "b", "c", "d"))
    with pytest.raises(SplitError, match=r"class c \(4 px"):
        plan_split(store, settings(rare_classes="merge", merge_into={"d": "a"}), 42)


def test_merge_without_need_warns(make_store: StoreMaker) -> None:
    store = make_store({"s": np.where(LABELS == 1, 1, 0).astype(np.uint8)})
    with pytest.warns(UserWarning, match="merge_into has no effect: every class is supported"):
        plan = plan_split(store, settings(rare_classes="merge", merge_into={"b": "a"}), 42)
    assert plan.classes == ("a", "b")


def test_merge_into_without_merge_warns(make_store: StoreMaker) -> None:
    store = make_store({"s": np.where(LABELS == 1, 1, 0).astype(np.uint8)})
    with pytest.warns(UserWarning, match="no effect while spatial_split.rare_classes is error"):
        plan_split(store, settings(merge_into={"b": "a"}), 42)


def test_report_only_lists_what_is_not_supported(make_store: StoreMaker) -> None:
    store = make_store({"s": LABELS}, ("a", "b", "c", "d"))
    plan = plan_split(store, settings(rare_classes="report_only"), 42)
    assert plan.classes == ("a", "b", "c", "d")
    assert plan.unsupported == ("c", "d")


def test_a_wide_buffer_is_refused(make_store: StoreMaker) -> None:
    with pytest.raises(SplitError, match=r"below half of spatial_split.block_size_m=40, .*: got 20; lower"):
        plan_split(make_store({"s": LABELS}, ("a", "b", "c")), settings(buffer_m=20), 42)


def test_merging_keeps_order_and_maps_ids() -> None:
    assert merge_classes(("a", "b", "c", "d"), {"b": "d"}) == (("a", "c", "d"), (0, 2, 1, 2))


def test_the_seed_decides(make_store: StoreMaker) -> None:
    store = make_store({"s": np.where(LABELS == 1, 1, 0).astype(np.uint8)})
    folds = [plan_split(store, SETTINGS, seed).fold_of_block.tolist() for seed in (1, 1, 2)]
    assert folds[0] == folds[1] != folds[2]
