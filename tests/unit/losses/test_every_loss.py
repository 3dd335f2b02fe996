"""What holds for every term: gradients, ignored pixels, parts of a step, half precision, ramps."""

import pytest
import torch

from pipeline.errors import ModelError
from pipeline.losses.total import StepTotals, TotalLoss
from pipeline.params.loss import LossParams, LossWeights

TERMS = tuple(LossWeights.model_fields)
#: Terms that parts of a step add up to exactly.
BY_PART = tuple(term for term in TERMS if term != "mcc")
CLASS_WEIGHTS = torch.tensor([1.0, 3.0, 0.5])


def only(term, **more):
    return {"weights": {**dict.fromkeys(TERMS, 0), term: 1}, **more}


def loss_of(term, class_weights=CLASS_WEIGHTS, **more):
    return TotalLoss(LossParams(**only(term, **more)), class_weights.double(), classes=("rock", "ice", "lake"))


def scene(samples=2, size=5, seed=0):
    """Logits float64, labels of blobs (a boundary's two sides are often of one class), and weights."""
    torch.manual_seed(seed)
    logits = torch.randn(samples, 3, size, size, dtype=torch.float64)
    weight = torch.rand(samples, size, size, dtype=torch.float64) + 0.1
    return logits, torch.randint(0, 3, (samples, size, size)), weight


@pytest.mark.parametrize("term", TERMS)
def test_gradients_agree_with_differences(term):
    logits, labels, weight = scene(size=4)
    labels[0, 0, :2] = 255
    loss = loss_of(term, boundary={"interface": ["ice", "lake"]} if term == "boundary" else {},
                   focal={"gamma": 1.5, "alpha": {"lake": 3}} if term == "focal" else {})
    totals = StepTotals(loss.importance(labels, weight), 2)
    head = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, b: loss(x, labels, weight, totals, boundary_N1HW=b),
                                    (logits.requires_grad_(), head))


@pytest.mark.parametrize("term", TERMS)
def test_ignored_and_weightless_pixels_have_no_gradient(term):
    logits, labels, weight = scene(size=6)
    labels[:, 0] = 255
    weight[:, 1] = 0
    loss = loss_of(term)
    loss(logits.requires_grad_(), labels, weight, StepTotals(loss.importance(labels, weight), 2)).backward()
    assert logits.grad[:, :, :2].abs().max() == 0
    assert logits.grad[:, :, 2:].abs().min() > 0


@pytest.mark.parametrize("term", TERMS)
def test_what_lies_on_ignored_pixels_changes_nothing(term):
    logits, labels, weight = scene(size=6)
    labels[:, 2:4, 1:3] = 255
    loss = loss_of(term)
    totals = StepTotals(loss.importance(labels, weight), 2)
    hidden = (labels == 255).unsqueeze(1)
    other = torch.where(hidden, torch.randn_like(logits) * 9, logits)
    garbage = torch.where(labels == 255, weight + 5, weight)
    assert float(loss(other, labels, garbage, totals)) == float(loss(logits, labels, weight, totals))


@pytest.mark.parametrize("term", BY_PART)
def test_parts_of_a_step_add_up_to_the_step(term):
    logits, labels, weight = scene(samples=4)
    loss = loss_of(term)
    totals = StepTotals(loss.importance(labels, weight), 4)
    whole = loss(logits, labels, weight, totals)
    parts = sum(loss(logits[i:i + 2], labels[i:i + 2], weight[i:i + 2], totals) for i in (0, 2))
    assert float(parts) == pytest.approx(float(whole))


def test_the_mcc_of_a_step_is_the_mean_over_its_parts():
    logits, labels, weight = scene(samples=4)
    loss, totals = loss_of("mcc"), StepTotals(1.0, 4)
    shares = [float(loss(logits[part], labels[part], weight[part], totals)) for part in (slice(0, 3), slice(3, 4))]
    alone = [float(loss(logits[part], labels[part], weight[part], StepTotals(1.0, n)))
             for part, n in ((slice(0, 3), 3), (slice(3, 4), 1))]
    assert shares == pytest.approx([0.75 * alone[0], 0.25 * alone[1]])


@pytest.mark.parametrize("term", ["cross_entropy", "focal"])
def test_pixel_sums_are_linear_in_the_weights(term):
    logits, labels, weight = scene()
    loss, totals = loss_of(term), StepTotals(1.0, 2)
    once, twice = (float(loss(logits, labels, factor * weight, totals)) for factor in (1, 2))
    assert twice == pytest.approx(2 * once)


@pytest.mark.parametrize("term", TERMS)
def test_a_step_without_labels_is_zero_and_differentiable(term):
    loss = loss_of(term)
    logits = torch.full((1, 3, 2, 2), 60000.0, dtype=torch.float16, requires_grad=True)
    value = loss(logits, torch.full((1, 2, 2), 255), torch.zeros(1, 2, 2), StepTotals(0.0, 1))
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_full(term, dtype):
    logits, labels, weight = scene(size=16)
    loss = TotalLoss(LossParams(**only(term)), CLASS_WEIGHTS)
    logits, weight = (3 * logits).to(dtype), weight.float()
    totals = StepTotals(loss.importance(labels, weight), 2)
    expected = loss(logits.float(), labels, weight, totals)
    with torch.autocast("cpu", dtype):
        value = loss(logits, labels, weight, totals)
    assert value.dtype == torch.float32
    assert float(value) == float(expected)


@pytest.mark.parametrize("term", TERMS)
def test_runs_with_deterministic_algorithms_only(term):
    torch.use_deterministic_algorithms(True)
    try:
        grads = []
        for _ in range(2):
            logits, labels, weight = scene(size=8)
            loss = loss_of(term)
            loss(logits.requires_grad_(), labels, weight, StepTotals(loss.importance(labels, weight), 2)).backward()
            grads.append(logits.grad)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*grads)


def test_terms_are_summed_by_weight_and_ramp_in_by_epoch():
    logits, labels, weight = scene()
    settings = {"weights": {"cross_entropy": 0, "dice": 0.25, "focal": 0.25, "mcc": 0.35, "boundary": 0.15},
                "ramp": {"terms": ["mcc", "boundary"], "start_epoch": 2, "epochs": 4}}
    loss = TotalLoss(LossParams(**settings), CLASS_WEIGHTS.double())
    totals = StepTotals(loss.importance(labels, weight), 2)
    alone = {term: float(loss_of(term)(logits, labels, weight, totals)) for term in TERMS}
    for epoch, share in ((0, 0), (1, 0), (2, 0.25), (4, 0.75), (5, 1), (99, 1)):
        expected = (0.25 * alone["focal"] + 0.25 * alone["dice"]
                    + share * (0.35 * alone["mcc"] + 0.15 * alone["boundary"]))
        assert float(loss(logits, labels, weight, totals, epoch)) == pytest.approx(expected)
    assert float(loss(logits, labels, weight, totals)) == pytest.approx(expected)


def test_the_boundary_head_adds_its_own_loss():
    logits, labels, weight = scene()
    head = torch.randn(2, 1, 5, 5, dtype=torch.float64)
    totals = StepTotals(1.0, 2)
    without = float(loss_of("boundary")(logits, labels, weight, totals))
    assert float(loss_of("boundary", boundary={"head_weight": 0})(logits, labels, weight, totals, 0, head)) == without
    once = float(loss_of("boundary")(logits, labels, weight, totals, 0, head)) - without
    twice = float(loss_of("boundary", boundary={"head_weight": 2})(logits, labels, weight, totals, 0, head)) - without
    assert twice == pytest.approx(2 * once)
    assert once > 0


def test_every_sum_over_devices_is_asked_for_even_without_labels():
    asked = []
    loss = TotalLoss(LossParams(**only("mcc")), CLASS_WEIGHTS, lambda own: asked.append(1) or own)
    loss(torch.randn(1, 3, 2, 2), torch.full((1, 2, 2), 255), torch.zeros(1, 2, 2), StepTotals(0.0, 1))
    assert asked == [1]


@pytest.mark.parametrize(("settings", "message"), [
    ({"focal": {"alpha": {"sea": 2}}, "weights": {"focal": 1}}, r"focal.alpha must name classes .*: got 'sea'"),
    ({"boundary": {"interface": ["ice", "sea"]}, "weights": {"boundary": 1}}, r"boundary.interface must .*: got 'sea'"),
])
def test_merged_classes_are_refused(settings, message):
    with pytest.raises(ModelError, match=message):
        TotalLoss(LossParams(**settings), CLASS_WEIGHTS, classes=("rock", "ice", "lake"))
    with pytest.raises(ModelError, match="must name classes"):
        TotalLoss(LossParams(**settings), CLASS_WEIGHTS)


def test_names_are_found_by_place():
    logits, labels, weight = scene()
    by_name = loss_of("focal", focal={"alpha": {"lake": 5, "rock": 2}})
    by_weight = loss_of("focal", class_weights=CLASS_WEIGHTS * torch.tensor([2.0, 1.0, 5.0]))
    found, expected = (float(loss(logits, labels, weight, StepTotals(1.0, 2))) for loss in (by_name, by_weight))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("term", TERMS)
def test_alone_it_leads_to_the_labels(term):
    logits, labels, weight = scene(size=6)
    labels[:, 0] = 255
    loss = loss_of(term, class_weights=torch.ones(3), **({"boundary": {"sigma_px": 5}} if term == "boundary" else {}))
    totals = StepTotals(loss.importance(labels, weight), 2)
    optimizer = torch.optim.Adam([logits.requires_grad_()], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(logits, labels, weight, totals)
        value.backward()
        optimizer.step()
    assert value.item() < 0.05
    assert (logits.argmax(dim=1) == labels)[:, 1:].all()
