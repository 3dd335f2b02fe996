"""Which patch goes where: to which step, part and rank, and from which step on."""

import pytest
import torch

from pipeline.patches import loader
from pipeline.patches.batch import Batch
from pipeline.patches.loader import EpochBatches


class Numbers:
    """A source that gives the key it is asked for."""

    def __init__(self):
        self.asked = []

    def draw(self, epoch, index):
        self.asked.append((epoch, index))
        return epoch, index


@pytest.fixture(autouse=True)
def keys_stay_keys(monkeypatch):
    monkeypatch.setattr(loader, "collate", lambda keys, recycled: [index for _, index in keys])


def test_steps_parts_and_ranks_by_hand():
    one = list(EpochBatches(Numbers(), 17, 8, 2).epoch(3))
    assert one == [[[0, 1, 2, 3], [4, 5, 6, 7]], [[8, 9, 10, 11], [12, 13, 14, 15]]]
    assert list(EpochBatches(Numbers(), 16, 8, 2, rank=1, world_size=2).epoch(3)) == [
        [[1, 3], [5, 7]], [[9, 11], [13, 15]]]


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_part_is_the_same_patches_over_any_number_of_ranks(ranks):
    one = list(EpochBatches(Numbers(), 48, 16, 4).epoch(0))
    shared = [list(EpochBatches(Numbers(), 48, 16, 4, rank, ranks).epoch(0)) for rank in range(ranks)]
    for step, parts in enumerate(one):
        for part, indices in enumerate(parts):
            assert sorted(i for mine in shared for i in mine[step][part]) == indices


def test_an_epoch_taken_up_in_the_middle_cuts_nothing_before():
    source = Numbers()
    batches = EpochBatches(source, 24, 8, 2)
    assert list(batches.epoch(1, 2)) == [[[16, 17, 18, 19], [20, 21, 22, 23]]]
    assert source.asked[0] == (1, 16)
    assert list(batches.epoch(1, 3)) == []
    assert len(list(batches.epoch(2))) == 3


def test_labelled_pixels_are_counted_by_class():
    labels = torch.tensor([[[0, 1], [1, 255]], [[2, 2], [2, 255]]], dtype=torch.uint8)
    weight = torch.tensor([[[0.5, 1], [0.25, torch.nan]], [[1, 1], [1, torch.inf]]])
    image, visible = torch.arange(16.0).view(2, 2, 2, 2), torch.ones(2, 2, 2, dtype=torch.bool)
    batch = Batch(image, visible, labels, weight, (0, 1), ("a", "b"))
    assert batch.tally().pixels[:4] == (1, 2, 3, 0)
    assert batch.tally().weight[:4] == (0.5, 1.25, 3.0, 0.0)
    ready = batch.prepared()
    assert ready.tally() == batch.tally()
    assert torch.equal(ready.image(), batch.image())
    for mine, theirs in zip(ready.targets(), batch.targets(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("pin", [True, False])
def test_without_workers_batches_are_pinned_if_asked(pin, monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor.dtype) or tensor)
    image, labels = torch.ones(1, 2, 2, 1), torch.zeros(1, 2, 2, dtype=torch.uint8)
    batch = Batch(image, labels == 0, labels, torch.ones(1, 2, 2), (0,), ("a",))
    monkeypatch.setattr(loader, "collate", lambda keys, recycled: batch)
    assert len(list(EpochBatches(Numbers(), 2, 2, 1, pin_memory=pin).epoch(0))) == 1
    assert pinned == [torch.float32, torch.bool, torch.uint8, torch.float32] * pin
