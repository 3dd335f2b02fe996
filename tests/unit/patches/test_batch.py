"""Batches: eight orientations that keep pixels together, raw values made into NaN-marked floats, ranks and workers."""

import numpy as np
import pytest
import torch

from pipeline.patches.batch import Recycled, collate, turned
from pipeline.patches.loader import EpochBatches
from pipeline.patches.source import Patch
from pipeline.types import Window
from tests.unit.patches.samples import PLAIN, TEXTURE, digest_of, places, source_of


def test_eight_orientations_are_different_and_keep_pixels_together():
    square = torch.arange(9).reshape(3, 3)
    stacked = turned(square.repeat(8, 1, 1), range(8))
    assert len({tuple(t.flatten().tolist()) for t in stacked}) == 8
    assert stacked[0].tolist() == square.tolist()
    assert stacked[1].tolist() == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]
    assert stacked[4].tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    assert stacked[5].tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    bands_last = torch.stack([square, 2 * square], dim=-1).repeat(8, 1, 1, 1)
    assert torch.equal(turned(bands_last, range(8))[..., 1], 2 * stacked)
    assert turned(stacked, [0] * 8) is stacked


def patch(values, turn=0):
    return Patch(image=np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], dtype=values),
                 ground=np.array([[2, 0], [1, 2]], dtype=np.uint8), valid=np.array([[1, 1], [1, 1]], dtype=np.uint8),
                 labels=np.array([[0, 1], [1, 2]], dtype=np.uint8),
                 weight=np.array([[0.5, np.nan], [0.25, 1]], dtype=np.float32), turn=turn, scene_id="a",
                 window=Window(3, 4, 2, 2))


@pytest.mark.parametrize("values", ["uint8", "int16", "uint16", "uint32", "float32", "float64"])
def test_raw_values_of_any_type_become_floats_with_nan_where_not_visible(values):
    batch = collate([patch(values), patch(values, turn=1)])
    image, (labels, weight) = batch.image(), batch.targets()
    nan = float("nan")
    np.testing.assert_array_equal(image[0], [[[1, nan], [5, 7]], [[2, nan], [6, 8]]])
    np.testing.assert_array_equal(image[1], [[[nan, 7], [1, 5]], [[nan, 8], [2, 6]]])
    assert labels.tolist() == [[[0, 255], [255, 2]], [[255, 2], [0, 255]]]
    assert weight.tolist() == [[[0.5, 0], [0, 1]], [[0, 1], [0.5, 0]]]
    assert (image.dtype, labels.dtype, weight.dtype) == (torch.float32, torch.int64, torch.float32)
    assert batch.places == ("a row 3 col 4",) * 2
    # The raw batch is left as it was: an accumulated step may ask twice.
    np.testing.assert_array_equal(batch.image(), image)


def test_large_16_bit_values_keep_their_sign():
    loud = Patch(np.full((1, 1, 1), 65535, np.uint16), np.full((1, 1), 2, np.uint8), np.ones((1, 1), np.uint8),
                 np.zeros((1, 1), np.uint8), np.ones((1, 1), np.float32), 0, "a", Window(0, 0, 1, 1))
    assert collate([loud]).image().item() == 65535


def test_arrays_are_used_again_only_when_nobody_refers_to_their_tensors():
    recycled = Recycled()
    first = collate([patch("uint16")], recycled)
    kept = digest_of(first)
    places_in_memory = {t.data_ptr() for t in tensors_of(first)}
    second = collate([patch("uint16", turn=2)], recycled)
    assert places_in_memory.isdisjoint(t.data_ptr() for t in tensors_of(second))
    assert digest_of(first) == kept
    view = first.visible_NHW[0]
    image, weight = first.raw_NHWC.data_ptr(), first.raw_weight_NHW.data_ptr()
    del first
    third = collate([patch("uint16")], recycled)
    assert (third.raw_NHWC.data_ptr(), third.raw_weight_NHW.data_ptr()) == (image, weight)
    assert view.data_ptr() not in {t.data_ptr() for t in tensors_of(third)}


def tensors_of(batch):
    return batch.raw_NHWC, batch.visible_NHW, batch.raw_labels_NHW, batch.raw_weight_NHW


def test_batches_of_an_epoch_may_be_kept(tiny_data):
    batches = EpochBatches(source_of(tiny_data()), 16, 4, 1)
    kept = [step[0] for step in batches.epoch(0)]
    assert [digest_of(batch) for batch in kept] == [digest_of(step[0]) for step in batches.epoch(0)]


def test_draws_do_not_depend_on_ranks_or_accumulation(tiny_data):
    source = source_of(tiny_data())

    def drawn(**options):
        return places(list(EpochBatches(source, 8, 4, **options).epoch(1)))

    whole = drawn(accumulation=1)
    assert len(whole) == 2
    assert drawn(accumulation=2) == whole
    ranks = [drawn(accumulation=2, rank=r, world_size=2) for r in range(2)]
    assert [sorted(a + b) for a, b in zip(*ranks, strict=True)] == whole


@pytest.mark.parametrize("recipe", [PLAIN, TEXTURE], ids=["plain", "texture"])
def test_workers_cut_the_same_bytes_and_leave_the_global_generator_alone(tiny_data, recipe):
    source = source_of(tiny_data(), recipe=recipe)
    digests, states = [], []
    for workers in (0, 2) if recipe is TEXTURE else (0, 1):
        torch.manual_seed(11)
        batches = EpochBatches(source, 8, 4, 2, workers=workers)
        digests.append([digest_of(*(b for step in batches.epoch(e) for b in step)) for e in (0, 1)])
        states.append(torch.get_rng_state().tolist())
    assert digests[0] == digests[1]
    assert digests[0][0] != digests[0][1]
    assert states[0] == states[1]
