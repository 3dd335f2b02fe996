"""What is done where a class lacks support: an error with its remedies, a merger, or a word in the report."""

import numpy as np
import pytest
from pyproj import Transformer

from pipeline.errors import SplitError
from pipeline.params.spatial_split import SplitParams
from pipeline.splits.plan import merge_classes, plan_split
from tests.unit.splits.conftest import StoreMaker, grid_of

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
               r".* of 40 m blocks .*; no block size would do: lower spatial_split.min_pixels \(to 1 at most\), "
               r"label more of it, or declare rare_classes: merge \(with merge_into\) or report_only$")
    with pytest.raises(SplitError, match=message):
        plan_split(store, SETTINGS, 42)


def test_error_names_the_largest_block_that_would_do(make_store: StoreMaker) -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[2::4] = labels[3::4] = 1
    labels[:8:2, :8:2] = 2  # 16 objects of a pixel, all in the first block of 8 px
    big = settings(block_size_m=80, folds=2, min_pixels=3)
    store = make_store({"s": labels}, ("a", "b", "c"))
    with pytest.raises(SplitError, match=r"class c \(16 px in 16 objects in 1 block\)") as caught:
        plan_split(store, big, 42)
    assert "; the largest feasible block is " in str(caught.value)
    size = float(str(caught.value).split("block is ")[1].split(" m:")[0])
    assert plan_split(store, settings(block_size_m=size, folds=2, min_pixels=3), 42)


def test_one_object_is_not_to_be_cut_up(make_store: StoreMaker) -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[2::4] = labels[3::4] = 1
    labels[:8, :8] = 2
    store = make_store({"s": labels}, ("a", "b", "c"))
    message = (r"class c \(64 px in 1 object in 1 block\) .*; 1 object cannot serve 3 parts with 1 each, and smaller "
               r"blocks would only cut objects up .*: label more of it, or declare rare_classes")
    with pytest.raises(SplitError, match=message):
        plan_split(store, settings(block_size_m=80, folds=2, min_pixels=8), 42)


def test_more_objects_than_there_are_are_not_asked_for_in_pixels(make_store: StoreMaker) -> None:
    labels = (np.indices((16, 16)).sum(axis=0) % 2).astype(np.uint8)
    labels[labels == 1] = np.where(np.arange(128) % 8, 255, 1)  # 128 objects of a, 16 of b
    message = r"class b .*; 16 objects cannot serve 3 parts with 9 each, .* spatial_split.min_objects \(to 5 at most\)"
    with pytest.raises(SplitError, match=message):
        plan_split(make_store({"s": labels}), settings(min_objects=9, min_pixels=1), 42)


def test_the_buffer_is_blamed_where_it_is_the_cause(make_store: StoreMaker) -> None:
    """16 blocks of 5 px with b in their corners, where any held-out neighbour takes it."""
    labels = np.zeros((20, 20), np.uint8)
    labels[::5, ::5] = labels[4::5, ::5] = labels[::5, 4::5] = labels[4::5, 4::5] = 1
    store = make_store({"s": labels})
    message = (r"class b \(64 px in 25 objects in 16 blocks, of which train keeps at most \d+ of 24 px outside the "
               r"buffer of 24 m\) .* lower spatial_split.buffer_m, lower spatial_split.min_")
    with pytest.raises(SplitError, match=message):
        plan_split(store, settings(block_size_m=50, folds=2, min_pixels=16, buffer_m=24), 42)
    assert plan_split(store, settings(block_size_m=50, folds=2, min_pixels=16, buffer_m=0), 42)


def test_a_split_that_only_the_core_would_refuse_is_found(make_store: StoreMaker) -> None:
    """Blocks of 8 px keep 4 px of 64 in their core; of 36 blocks 21 train, whose neighbours mostly train too."""
    labels = np.random.default_rng(0).integers(0, 2, (48, 48)).astype(np.uint8)
    store = make_store({"s": labels})
    plan = plan_split(store, settings(block_size_m=80, buffer_m=35, min_pixels=100), 42)
    part = np.where(plan.fold_of_block == 254, 2, np.where(plan.fold_of_block == 0, 1, 0))
    assert plan.support.core[part == 0].sum(axis=0).min() < 100
    assert plan.support.train_pixels(part).min() >= 100


def test_a_store_without_valid_or_labelled_pixels_is_refused(make_store: StoreMaker) -> None:
    nothing = {"s": np.zeros((16, 16), np.uint8)}
    with pytest.raises(SplitError, match=r"must hold valid pixels: got none in 1 scene; check the scenes' nodata"):
        plan_split(make_store({"s": LABELS}, valid=nothing), SETTINGS, 42)
    blank = {"s": np.full((16, 16), 255, np.uint8)}
    message = r"must hold labelled pixels .*: got none in 1 scene; check acquire's labels"
    for rule in ("error", "report_only"):
        with pytest.raises(SplitError, match=message):
            plan_split(make_store(blank), settings(rare_classes=rule), 42)


def test_overlapping_crss_are_named_with_a_remedy(make_store: StoreMaker) -> None:
    x, y = Transformer.from_crs(32748, 32749, always_xy=True).transform(833_000, 9_310_000)
    grids = {"a": grid_of((16, 16), origin=(833_000.0, 9_310_000.0)),
             "b": grid_of((16, 16), "EPSG:32749", origin=(x, y))}
    labels = np.where(LABELS == 1, 1, 0).astype(np.uint8)
    message = r"a \(EPSG:32748\), b \(EPSG:32749\) leave \d of \d+ blocks .*; warp them to one CRS"
    with pytest.raises(SplitError, match=message):
        plan_split(make_store({"a": labels, "b": labels}, grids=grids), settings(block_size_m=80), 42)


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
    with pytest.raises(SplitError, match=r"class b \(no labelled pixel at all\) must have .* test; label it, "):
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
