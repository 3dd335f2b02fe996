"""Lovász-softmax against its definition."""

import numpy as np
import pytest
import torch

from pipeline.losses.lovasz import lovasz_sum


def by_definition(errors, in_class, weight):
    """Sum of m_i (J(first i) - J(first i - 1)), J the Jaccard loss of the set of wrong pixels."""

    def jaccard_loss(wrong):
        both = (weight * in_class * ~wrong).sum()
        either = (weight * (in_class | wrong)).sum()
        return 1 - both / either

    value, wrong = 0.0, np.zeros(len(errors), dtype=bool)
    for i in np.argsort(-errors, kind="stable"):
        before = jaccard_loss(wrong)
        wrong[i] = True
        value += errors[i] * (jaccard_loss(wrong) - before)
    return value


def test_one_class_by_hand():
    # Two classes, three pixels: labels 1, 1, 0; p of class 1: 0.9, 0.4, 0.3.
    # Class 1: errors 0.1, 0.6, 0.3. In order: 0.6 (missed: J 0 -> 1 - 1/2), 0.3 (extra: -> 1 - 1/3), 0.1 (-> 1).
    class_1 = 0.6 / 2 + 0.3 / 6 + 0.1 / 3
    # Class 0, the third pixel alone: errors 0.1, 0.6, 0.3. 0.6 (extra: -> 1 - 1/2), 0.3 (missed: -> 1), 0.1 (1).
    class_0 = 0.6 / 2 + 0.3 / 2
    p = torch.tensor([0.9, 0.4, 0.3])
    logits = torch.log(torch.stack([1 - p, p])).reshape(1, 2, 1, 3)
    value = lovasz_sum(logits, torch.tensor([[[1, 1, 0]]]), torch.ones(1, 1, 3))
    assert float(value) == pytest.approx((class_0 + class_1) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_is_its_definition_with_pixel_weights(seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    logits = torch.randn(1, 3, 5, 6, dtype=torch.float64)
    labels = torch.as_tensor(rng.integers(0, 3, (1, 5, 6)))
    # Weights in steps that are counted exactly.
    weight = torch.as_tensor(rng.integers(1, 2**12, (1, 5, 6)) / 2**10)
    probs = torch.softmax(logits, dim=1)[0].reshape(3, -1).numpy()
    flat_labels, flat_weight = labels.numpy().ravel(), weight.numpy().ravel()
    expected = np.mean([by_definition(np.abs((flat_labels == k) - probs[k]), flat_labels == k, flat_weight)
                        for k in range(3)])
    assert float(lovasz_sum(logits, labels, weight)) == pytest.approx(expected, rel=1e-9)


def test_of_hard_predictions_is_one_minus_iou():
    predicted, labels = torch.tensor([[0, 0, 1, 1, 1]]), torch.tensor([[[0, 1, 1, 1, 0]]])
    logits = (torch.nn.functional.one_hot(predicted, 2) * 200.0).permute(0, 2, 1).unsqueeze(2)
    # Class 0: 1 right of 3 in either. Class 1: 2 of 4.
    assert float(lovasz_sum(logits, labels, torch.ones(1, 1, 5))) == pytest.approx(1 - (1 / 3 + 1 / 2) / 2)


def test_ignored_pixels_and_absent_classes_have_no_say():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 4, 4)
    labels = torch.randint(0, 2, (1, 4, 4))
    labels[0, 2:] = 255
    weight = torch.ones(1, 4, 4)
    cut = lovasz_sum(logits[:, :, :2], labels[:, :2], weight[:, :2])
    assert float(lovasz_sum(logits, labels, weight)) == pytest.approx(float(cut))
    assert float(lovasz_sum(logits, torch.full_like(labels, 255), weight)) == 0
