"""Formulas: values worked out by hand, scikit-learn on random data, and every 0/0."""

import math

import numpy as np
import pytest

from pipeline.metrics import scores
from pipeline.metrics.confusion import Confusion

#: Rows are truth.
HAND = Confusion(np.array([[5, 1, 0], [1, 3, 1], [1, 1, 2]]))


def test_three_classes_by_hand() -> None:
    # truth 6, 5, 4; predicted 7, 5, 3; 15 pixels; sum of products 42 + 25 + 12 = 79.
    assert HAND.pixels == 15
    assert scores.accuracy(HAND) == pytest.approx(10 / 15)
    assert scores.kappa(HAND) == pytest.approx((10 * 15 - 79) / (225 - 79))
    assert scores.mcc(HAND) == pytest.approx((150 - 79) / math.sqrt((225 - 77) * (225 - 83)))
    assert scores.iou(HAND) == pytest.approx([5 / 8, 3 / 7, 2 / 5])
    assert scores.macro_iou(HAND) == pytest.approx((5 / 8 + 3 / 7 + 2 / 5) / 3)
    assert scores.f1_of(HAND.matrix) == pytest.approx([10 / 13, 6 / 10, 4 / 7])
    assert scores.precision_of(HAND.matrix) == pytest.approx([5 / 7, 3 / 5, 2 / 3])
    assert scores.recall_of(HAND.matrix) == pytest.approx([5 / 6, 3 / 5, 2 / 4])


def test_one_versus_rest_mcc_is_the_binary_formula() -> None:
    tp, fn, fp = 5, 1, 2
    tn = 15 - tp - fn - fp
    binary = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert scores.class_mcc_of(HAND.matrix)[0] == pytest.approx(binary)


def test_two_classes_mcc_is_the_same_for_both_classes_and_overall() -> None:
    confusion = Confusion(np.array([[40, 3], [7, 11]]))
    assert scores.class_mcc_of(confusion.matrix) == pytest.approx([scores.mcc(confusion)] * 2)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scikit_learn(seed: int) -> None:
    from sklearn import metrics

    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, 400)
    predicted = np.where(rng.random(400) < 0.6, truth, rng.integers(0, 5, 400))
    c = Confusion.of(truth, predicted, 5)
    assert c.matrix.tolist() == metrics.confusion_matrix(truth, predicted).tolist()
    assert scores.mcc(c) == pytest.approx(metrics.matthews_corrcoef(truth, predicted))
    assert scores.kappa(c) == pytest.approx(metrics.cohen_kappa_score(truth, predicted))
    assert scores.iou(c) == pytest.approx(metrics.jaccard_score(truth, predicted, average=None))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, predicted)
    assert scores.precision_of(c.matrix) == pytest.approx(precision)
    assert scores.recall_of(c.matrix) == pytest.approx(recall)
    assert scores.f1_of(c.matrix) == pytest.approx(f1)
    for i in range(5):
        one = metrics.matthews_corrcoef(truth == i, predicted == i)
        assert scores.class_mcc_of(c.matrix)[i] == pytest.approx(one)


def test_perfect_and_worst_values() -> None:
    assert scores.mcc(Confusion(np.diag([3, 4, 5]))) == pytest.approx(1)
    assert scores.kappa(Confusion(np.diag([3, 4, 5]))) == pytest.approx(1)
    assert scores.mcc(Confusion(np.array([[0, 4], [4, 0]]))) == pytest.approx(-1)


def test_a_majority_vote_has_kappa_0_and_no_mcc() -> None:
    majority = Confusion(np.array([[6, 0], [4, 0]]))
    assert math.isnan(scores.mcc(majority))
    assert scores.kappa(majority) == 0
    assert scores.accuracy(majority) == pytest.approx(0.6)


def test_one_class_on_both_sides_has_neither_kappa_nor_mcc() -> None:
    only = Confusion(np.array([[6, 0], [0, 0]]))
    assert math.isnan(scores.mcc(only))
    assert math.isnan(scores.kappa(only))
    assert scores.macro_iou(only) == 1


def test_classes_in_neither_truth_nor_prediction_are_undefined_and_leave_the_macro_mean() -> None:
    absent = Confusion(np.array([[5, 5, 0], [0, 10, 0], [0, 0, 0]]))
    assert math.isnan(scores.iou(absent)[2])
    assert scores.macro_iou(absent) == pytest.approx((5 / 10 + 10 / 15) / 2)


def test_a_class_only_predicted_counts_as_0_in_the_macro_mean() -> None:
    invented = Confusion(np.array([[8, 2], [0, 0]]))
    assert scores.iou(invented) == pytest.approx([0.8, 0.0])
    assert scores.macro_iou(invented) == pytest.approx(0.4)
    assert math.isnan(scores.recall_of(invented.matrix)[1])
    assert scores.precision_of(invented.matrix)[1] == 0


def test_no_pixels_have_no_score() -> None:
    values = scores.flat_scores(Confusion.empty(2).matrix, ["a", "b"])
    assert all(math.isnan(float(v)) for v in values.values())


def test_huge_counts_do_not_lose_a_near_empty_class() -> None:
    huge = Confusion(np.array([[4_000_000_000, 1], [1, 2]]))
    binary = (4_000_000_000 * 2 - 1) / math.sqrt(4_000_000_001 * 3 * 3 * 4_000_000_001)
    assert scores.mcc(huge) == pytest.approx(binary, rel=1e-6)


def test_many_matrices_at_once_equal_one_by_one() -> None:
    counts = np.random.default_rng(0).integers(0, 20, (6, 3, 3))
    together = scores.flat_scores(counts, "abc")
    for i in range(6):
        for name, value in scores.flat_scores(counts[i], "abc").items():
            assert together[name][i] == value


def test_scores_are_nested_plain_floats() -> None:
    result = scores.scores(HAND, ["field", "water", "wood"])
    assert result["iou"]["water"] == pytest.approx(3 / 7)
    assert set(result) == {"mcc", "kappa", "accuracy", "macro_iou", "iou", "f1", "precision", "recall", "class_mcc"}
    assert all(isinstance(v, float) for v in result["recall"].values())
    assert isinstance(result["mcc"], float)
