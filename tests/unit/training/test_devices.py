"""What keeps a network the same on several devices and in mixed precision; nothing here needs a GPU."""

import copy
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from pipeline.errors import ModelError
from pipeline.losses.total import StepTotals
from pipeline.networks.segmenter import Normalizer, build
from pipeline.networks.spec import ModelSpec
from pipeline.params.network import NetworkParams
from pipeline.params.train import TrainParams
from pipeline.training import engine, lr_find, ranks, start
from pipeline.training.keeper import Keeper
from pipeline.training.precision import AutocastOnly, leave_inputs_alone
from pipeline.training.progress import Progress
from pipeline.training.ranks import Ranks
from pipeline.training.start import over_all_devices
from pipeline.training.step import Stepper

PARAMS = TrainParams.model_validate({"accelerator": "cpu", "threads": 1})


def spec_of(encoder):
    return ModelSpec(network=NetworkParams(encoder=encoder, encoder_depth=3, decoder_channels=(8, 8, 8),
                                           boundary_head=True),
                     bands=("a", "b"), channels=("a", "b"), classes=("x", "y"), colors=("#000000", "#ffffff"),
                     background="", reflectance_scale=1.0, mean=(0.0, 1.0), std=(1.0, 2.0), low=(0.0, 0.0),
                     high=(1.0, 1.0), band_low=(0.0, 0.0), band_high=(1.0, 1.0), patch_size_px=64, size_multiple=8,
                     pixel_size_m=10.0, split="")


@pytest.mark.parametrize("encoder", ["resnet18", "tu-efficientnet_b0"])
def test_batch_statistics_over_all_devices_leave_the_network_what_it_is(encoder):
    torch.manual_seed(0)
    segmenter = build(spec_of(encoder))
    image = torch.randn(2, 2, 64, 64)
    with torch.no_grad():
        segmenter(image)  # statistics of its own
    segmenter.eval()
    names = [name for name, _ in segmenter.named_parameters()]
    kept = copy.deepcopy(segmenter.state_dict())
    expected = segmenter.outputs(image)
    converted = over_all_devices(segmenter)
    found = converted.outputs(image)
    assert torch.equal(found.logits_NKHW, expected.logits_NKHW)
    assert torch.equal(found.boundary_N1HW, expected.boundary_N1HW)
    norms = [m for m in converted.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(m, torch.nn.SyncBatchNorm) for m in norms)
    assert [name for name, _ in converted.named_parameters()] == names
    assert all(torch.equal(value, kept[name]) for name, value in converted.state_dict().items())
    assert sum(len(parameters) for _, parameters in converted.layers()) == len(names)


def mixed_fabric():
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    leave_inputs_alone(fabric)
    return fabric


def test_images_are_not_cast_before_the_network_sees_them():
    image = torch.tensor([27315.0, 70000.0])
    precision = mixed_fabric().strategy.precision
    assert torch.equal(precision.convert_input(((image,), {"more": image}))[0][0], image)
    halves = AutocastOnly("16-mixed", "cpu")
    assert torch.equal(halves.convert_input(image), image)
    with precision.forward_context():
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == torch.bfloat16
    assert precision.convert_output(torch.ones(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert type(engine.open_fabric(PARAMS.model_copy(update={"precision": "bf16-mixed"})).strategy.precision) \
        is AutocastOnly


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_an_image_is_normalized_in_float32(dtype):
    image = torch.tensor([27315.0, 27316.0, 70000.0]).view(1, 1, 1, 3)
    with torch.autocast("cpu", dtype=dtype):
        found = Normalizer((27315.0,), (1.0,))(image)
    assert found.dtype == torch.float32
    assert found.flatten().tolist() == [0.0, 1.0, 42685.0]


class Store:
    """A resume store in memory."""

    def __init__(self):
        self.state = None

    def load(self):
        return self.state

    def save(self, state):
        self.state = copy.deepcopy(state)


def keeper_of(fabric, store):
    network = torch.nn.Linear(1, 1)
    return Keeper(fabric, Ranks(fabric), store, network, torch.optim.SGD(network.parameters()), None, 0.0)


def overflowed(fabric):
    """What is left of a scaler after a training in which it had to come down three times."""
    scaler = fabric.strategy.precision.scaler
    for _ in range(3):
        scaler.scale(torch.ones(1))
        scaler.update(scaler.get_scale() / 2)


def test_every_member_begins_with_a_scaler_of_its_own():
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.strategy.precision = AutocastOnly("16-mixed", "cpu", torch.amp.GradScaler(device="cpu"))
    first = Store()
    keeper = keeper_of(fabric, first)
    keeper.restore(2)
    overflowed(fabric)
    assert fabric.strategy.precision.scaler.get_scale() == 8192
    keeper.save(Progress(), [0, 0])
    keeper_of(fabric, Store()).restore(2)
    assert fabric.strategy.precision.scaler.get_scale() == 65536
    keeper_of(fabric, first).restore(2)  # taken up again, the first goes on with what it had
    assert fabric.strategy.precision.scaler.get_scale() == 8192


def test_the_keeper_knows_where_a_training_would_go_on():
    fabric, store = Fabric(accelerator="cpu", devices=1), Store()
    keeper = keeper_of(fabric, store)
    keeper.restore(2)
    assert keeper.kept == "the start"
    keeper.save(Progress(epoch=1, step=2), [0, 0])
    assert keeper.kept == "epoch 2, step 3"
    again = keeper_of(fabric, store)
    again.restore(2)
    assert again.kept == "epoch 2, step 3"


def stepper_that_raises(message):
    def fail(parts, totals, epoch):
        raise RuntimeError(message)

    stepper = object.__new__(Stepper)
    stepper._params = TrainParams.model_validate({"network": {"architecture": "PSPNet"}})
    stepper._fabric = SimpleNamespace(device=torch.device("cuda"))
    stepper._optimizer = SimpleNamespace(zero_grad=lambda: None)
    stepper._total, stepper._losses = (lambda parts: 1.0), fail
    return stepper


def test_a_network_whose_gradients_cannot_be_repeated_is_refused_by_name():
    said = ("adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'.")
    with pytest.raises(ModelError, match=r"PSPNet with encoder .* not on cuda \(adaptive_avg_pool2d_backward_cuda\)"):
        stepper_that_raises(said).launch([], 0, 0)
    with pytest.raises(RuntimeError, match="out of memory"):
        stepper_that_raises("out of memory").launch([], 0, 0)


def test_losses_of_parts_are_what_a_step_is_made_of():
    # The very method that is replaced above: a part's loss is detached, and gradients are of all ranks.
    stepper = object.__new__(Stepper)
    weight = torch.ones(1, requires_grad=True)
    stepper._fabric = Fabric(accelerator="cpu", devices=1)
    stepper._model, stepper._ranks = None, SimpleNamespace(size=3)
    stepper._fabric.no_backward_sync = lambda model, enabled: torch.enable_grad()
    stepper._forward = lambda part, totals, epoch: part * weight.sum()
    losses = stepper._losses([torch.tensor(2.0), torch.tensor(5.0)], StepTotals(1.0, 2), 0)
    assert [(float(loss), loss.requires_grad) for loss in losses] == [(2.0, False), (5.0, False)]
    assert weight.grad.item() == 21


def test_processes_wait_for_hours_of_the_main_ones_work(monkeypatch):
    asked = []
    monkeypatch.setattr(ranks.distributed, "new_group", lambda **options: asked.append(options))
    Ranks(SimpleNamespace(global_rank=1, world_size=2))
    assert asked[0]["timeout"] >= timedelta(days=1)
    strategies = []

    class Opened(Fabric):
        def __init__(self, **options):
            strategies.append(options["strategy"])
            super().__init__(accelerator="cpu", devices=1)

    monkeypatch.setattr(engine, "Fabric", Opened)
    engine.open_fabric(PARAMS.model_copy(update={"devices": 2}))
    assert isinstance(strategies[0], DDPStrategy)
    assert strategies[0]._timeout > timedelta(hours=1)


def test_the_rate_finder_looks_at_memory_too(monkeypatch):
    def refuse(*_, **__):
        raise ModelError("a training step must fit")

    monkeypatch.setattr(start, "check_memory", refuse)
    with pytest.raises(ModelError, match="a training step must fit"):
        lr_find.find_rate(Fabric(accelerator="cpu", devices=1), spec_of("resnet18"), None, [1, 1], PARAMS, 1e-4, 1, 20)


def test_the_progress_bar_shows_scores_once_there_are_any():
    progress = Progress(history=[{"train_loss": 0.5}])
    assert progress.shown(PARAMS) == {"loss": "0.500"}
    progress.history += [{"train_loss": 0.4, "val_mcc": 0.75}, {"train_loss": 0.25}]
    assert progress.shown(PARAMS) == {"loss": "0.250", "best": "0.750"}
