"""Class weights from counts and by name."""

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.losses.class_weights import by_class, class_weights
from pipeline.params.loss import LossParams

CLASSES = ("rock", "ice", "lake")


def weights(counts, kind, **more):
    return class_weights(np.array(counts), LossParams(class_weights=kind, **more), CLASSES)


def test_have_mean_one_over_pixels():
    counts = np.array([900, 100, 0])
    assert weights(counts, "none").tolist() == [1.0, 1.0, 0.0]
    inverse = weights(counts, "inverse")
    assert inverse[1] / inverse[0] == pytest.approx(9)
    assert weights(counts, "inverse_sqrt")[1] / weights(counts, "inverse_sqrt")[0] == pytest.approx(3)
    for kind, more in (("none", {}), ("inverse", {}), ("inverse_sqrt", {}), ("effective_number", {}),
                       ("given", {"given_weights": {"ice": 7}})):
        assert (weights(counts, kind, **more) * counts).sum() / counts.sum() == pytest.approx(1)


def test_effective_number_by_hand():
    # beta 0.5: effective numbers of 1, 2 and 3 pixels are 1, 1.5 and 1.75.
    found = weights([1, 2, 3], "effective_number", effective_beta=0.5)
    assert found / found[0] == pytest.approx([1, 1 / 1.5, 1 / 1.75])


def test_effective_number_lies_between_none_and_inverse():
    counts = [10_000, 1_000, 100]
    between = weights(counts, "effective_number", effective_beta=0.99)
    near_inverse = weights(counts, "effective_number", effective_beta=1 - 1e-9)
    assert near_inverse == pytest.approx(weights(counts, "inverse"), rel=1e-4)
    assert 1.5 < between[2] / between[0] < 2


def test_effective_number_that_does_nothing_is_said():
    with pytest.warns(UserWarning, match=r"no effect: .*above 50000 pixels .* rarest class has 80000; bring"):
        weights([5_000_000, 80_000, 0], "effective_number")


def test_given_by_name():
    found = weights([10, 10, 10], "given", given_weights={"lake": 4, "rock": 0.5})
    assert found / found[1] == pytest.approx([0.5, 1, 4])
    with pytest.raises(ModelError, match=r"given_weights must name classes that the split tells apart, .*: got 'sea'"):
        weights([1, 1, 1], "given", given_weights={"sea": 2})
    with pytest.raises(ModelError, match="must leave a class that the train part has a weight above 0"):
        weights([1, 0, 0], "given", given_weights={"rock": 0})


def test_by_class_keeps_the_order_of_classes():
    assert by_class({"lake": 3, "rock": 2}, CLASSES, "x") == [2, 1, 3]
