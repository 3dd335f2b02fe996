"""Memory pre-flight: what a training needs, found without allocating it, and what would fit instead.

One step of forward, loss and backward, and one batch of val as it is scored, run on fake tensors, which have shapes and
no data; every storage they make is counted from its birth to its release. Weights, gradients, the optimizer's state and
copies of the weights come on top.

Shape legend: N patches of a part, K classes, C channels, H rows, W columns.
"""

import copy
import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.errors import ModelError
from pipeline.losses.total import StepTotals, TotalLoss
from pipeline.networks.segmenter import Segmenter, build
from pipeline.networks.spec import ModelSpec
from pipeline.params.train import TrainParams
from pipeline.training.memory import available_bytes

#: What allocators and kernels take beyond the tensors: a share of what comes and goes, and a constant.
MARGIN_SHARE, MARGIN_BYTES = 0.25, 128 * 2**20

#: What was found already, by everything that it depends on.
_PEAKS: dict[tuple[object, ...], int] = {}

#: Patches or windows, rows, columns.
Shape = tuple[int, int, int]

_PRECISION = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that one process of a training needs on its device at its worst moment, by purpose."""

    #: Parameters and buffers.
    weights: int
    gradients: int
    #: Moments of the optimizer.
    optimizer: int
    #: Copies of the weights: moving average, best epoch so far (on CPUs), gradients on their way to other devices.
    copies: int
    #: Patches, activations, their gradients and what the loss takes, beyond the above.
    activations: int
    #: What scoring val takes when the activations of a step are gone.
    scoring: int
    margin: int

    @property
    def scoring_decides(self) -> bool:
        """Whether scoring val takes more than a step."""
        return self.scoring > self.activations

    @property
    def total(self) -> int:
        """What is needed at once."""
        return (self.weights + self.gradients + self.optimizer + self.copies + max(self.activations, self.scoring)
                + self.margin)

    def __str__(self) -> str:
        working = f"scoring {_gib(self.scoring)}" if self.scoring_decides else f"activations {_gib(self.activations)}"
        return (f"{_gib(self.total)} (weights {_gib(self.weights)}, gradients {_gib(self.gradients)}, optimizer "
                f"{_gib(self.optimizer)}, copies {_gib(self.copies)}, {working}, margin {_gib(self.margin)})")


def preflight(network: ModelSpec | Segmenter, params: TrainParams, device: torch.device,
              scored_NHW: Shape | None = None) -> MemoryNeed:
    """What a training needs; nothing of it is allocated, and no random number is drawn.

    Args:
        network: a spec, or the segmenter built from one.
        params: of the training.
        device: where it would run.
        scored_NHW: the largest batch in which val is scored, in full precision and whatever the accumulation.

    Raises:
        ModelError: the network cannot be trained on parts of so few patches.
    """
    with _generators_kept(device):
        return _need(network if isinstance(network, Segmenter) else build(network), params, device, scored_NHW)


def check_memory(network: ModelSpec | Segmenter, params: TrainParams, device: torch.device,
                 limit_bytes: int | None = None, scored_NHW: Shape | None = None) -> MemoryNeed:
    """What a training needs, if the device has it.

    Args:
        network: a spec, or the segmenter built from one.
        params: of the training.
        device: where it would run.
        limit_bytes: memory there; by default what is free now.
        scored_NHW: the largest batch in which val is scored.

    Raises:
        ModelError: a step or the scoring does not fit; it says what would.
    """
    with _generators_kept(device):
        segmenter = network if isinstance(network, Segmenter) else build(network)
    limit = available_bytes(device) if limit_bytes is None else limit_bytes
    # Processes of a training on CPUs share their memory.
    limit //= params.devices if device.type == "cpu" else 1
    if limit_bytes is None:
        # What is free now is so beside the weights, if these are there already.
        limit += sum(t.nbytes for t in segmenter.state_dict().values() if t.device.type == device.type)
    need = preflight(segmenter, params, device, scored_NHW)
    if need.total <= limit:
        return need
    if scored_NHW is not None and need.scoring_decides:
        windows, height, width = scored_NHW
        raise ModelError(f"scoring val must fit the memory of {device}: {windows} windows of {height} x {width} px "
                         f"need {need}, of {_gib(limit)} that are free; choose a smaller spatial_split.block_size_m or "
                         "a smaller network")
    raise ModelError(_refusal(segmenter, params, device, need, limit))


def _generators_kept(device: torch.device) -> AbstractContextManager[None]:
    """Torch's generators are in the end what they were before."""
    kept: AbstractContextManager[None] = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    return kept


def _refusal(segmenter: Segmenter, params: TrainParams, device: torch.device, need: MemoryNeed, limit: int) -> str:
    """The error's text: what is needed, what is there, and the smallest accumulation with which a step fits."""
    size_px, share = params.patches.size_px, params.batch_size // params.devices
    said = (f"a training step must fit the memory of {device}: parts of {share // params.accumulation} patches of "
            f"{size_px} px need {need}, of {_gib(limit)} that are free; ")
    why = "one patch does not fit either"
    for accumulation in range(params.accumulation + 1, share + 1):
        if share % accumulation:
            continue
        try:
            smaller = preflight(segmenter, params.model_copy(update={"accumulation": accumulation}), device)
        except ModelError as error:
            why = (f"smaller parts do not fit either or, of {share // accumulation} patches, cannot be trained "
                   f"({' '.join(str(error.__cause__).split())[:120]})")
            break
        if smaller.total <= limit:
            return (f"{said}set train.accumulation: {accumulation} with train.batch_size: {params.batch_size}, whose "
                    f"parts of {share // accumulation} need {_gib(smaller.total)}")
    instead = "" if params.precision != "32-true" else ", or train.precision: bf16-mixed"
    return f"{said}{why}: choose a smaller train.patches.size_px or a smaller network{instead}"


def _need(segmenter: Segmenter, params: TrainParams, device: torch.device, scored_NHW: Shape | None) -> MemoryNeed:
    patches = params.batch_size // (params.devices * params.accumulation)
    weights = sum(t.nbytes for t in segmenter.state_dict().values())
    # Frozen encoders thaw one day; what the network itself freezes never gets a gradient.
    learning = [p.nbytes for p in segmenter.parameters() if p.requires_grad]
    gradients = sum(learning)
    try:
        peak = _known_peak(segmenter, params, device, patches)
    except ValueError as error:
        raise ModelError(f"train.network must be trainable on parts of {patches} patches of {params.patches.size_px} "
                         f"px: {' '.join(str(error).split())[:200]}; lower train.accumulation") from error
    # While the optimizer steps, activations are gone: AdamW then makes one more copy on GPUs, of a tensor on CPUs.
    stepping = gradients if device.type == "cuda" else 2 * max(learning)
    copies = weights * (params.ema_decay > 0) + weights * (device.type == "cpu") + gradients * (params.devices > 1)
    working = max(peak - weights - gradients, stepping)
    scoring = _known_scoring(segmenter, device, scored_NHW) - weights if scored_NHW else 0
    return MemoryNeed(weights, gradients, _optimizer_bytes(params, gradients), copies, working, scoring,
                      int(MARGIN_SHARE * max(working, scoring)) + MARGIN_BYTES)


def _optimizer_bytes(params: TrainParams, gradients: int) -> int:
    match params.optimizer.name:
        case "adamw":
            return 2 * gradients
        case "sgd":
            return gradients * (params.optimizer.momentum > 0)


def _known_peak(segmenter: Segmenter, params: TrainParams, device: torch.device, patches: int) -> int:
    """`_peak_of_step`, found once in a process for all members of a training."""
    spec = segmenter.spec
    key = (spec.network.model_dump_json(), spec.channels, spec.classes, params.loss.model_dump_json(), params.precision,
           params.patches.size_px, min(2, params.accumulation), device.type, patches)
    if key not in _PEAKS:
        _PEAKS[key] = _peak_of_step(segmenter, params, device, patches)
    return _PEAKS[key]


def _peak_of_step(segmenter: Segmenter, params: TrainParams, device: torch.device, patches: int) -> int:
    """Bytes of weights, gradients and everything made on the way through a step, when they are most."""
    with FakeTensorMode():
        model = _faked(segmenter, device).train()
        loss = TotalLoss(params.loss, torch.ones(len(model.spec.classes), device=device), classes=model.spec.classes)
        with _Counted(model.state_dict()) as counted:
            dtype = _PRECISION.get(params.precision)
            # The second part's activations meet the gradients of the first.
            for _ in range(min(2, params.accumulation)):
                _part(model, loss, params, device, patches, dtype)
        peak: int = counted.peak
        return peak


def _known_scoring(segmenter: Segmenter, device: torch.device, scored_NHW: Shape) -> int:
    """`_peak_of_scoring`, found once in a process for all members of a training."""
    spec = segmenter.spec
    key = (spec.network.model_dump_json(), spec.channels, spec.classes, device.type, scored_NHW)
    if key not in _PEAKS:
        _PEAKS[key] = _peak_of_scoring(segmenter, device, scored_NHW)
    return _PEAKS[key]


def _peak_of_scoring(segmenter: Segmenter, device: torch.device, scored_NHW: Shape) -> int:
    """Bytes of weights and everything made on the way through two batches of val, when they are most."""
    windows, height, width = scored_NHW
    with FakeTensorMode():
        model = _faked(segmenter, device).eval()
        with _Counted(model.state_dict()) as counted, torch.no_grad():
            # The logits of a batch are still there while the next one is predicted.
            for _ in range(2):
                logits = model(torch.zeros(windows, len(model.spec.channels), height, width, device=device))
                model.decode(logits).argmax(dim=1)
        peak: int = counted.peak
        return peak


def _faked(segmenter: Segmenter, device: torch.device) -> Segmenter:
    """A copy on a device whose weights have no data; called while tensors are fake."""
    def like(tensor: Tensor) -> Tensor:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)

    weights = {id(p): nn.Parameter(like(p), requires_grad=p.requires_grad) for p in segmenter.parameters()}
    return copy.deepcopy(segmenter, weights | {id(b): like(b) for b in segmenter.buffers()})


def _part(model: Segmenter, loss: TotalLoss, params: TrainParams, device: torch.device, patches: int,
          dtype: torch.dtype | None) -> None:
    """Forward, loss and backward of one part, from patches as they are cut."""
    shape_NHW = (patches, params.patches.size_px, params.patches.size_px)
    raw_NHWC = torch.zeros(*shape_NHW, len(model.spec.channels), device=device)
    labels = torch.zeros(shape_NHW, dtype=torch.int64, device=device)
    weight = torch.ones(shape_NHW, device=device)
    image = raw_NHWC.clone().permute(0, 3, 1, 2)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        outputs = model.outputs(image)
    value: Any = loss(outputs.logits_NKHW, labels, weight, StepTotals(1.0, patches),
                      boundary_N1HW=outputs.boundary_N1HW)
    if outputs.boundary_N1HW is not None:
        value = value + outputs.boundary_N1HW.float().sum() * 0
    value.backward()


class _Counted(TorchDispatchMode):
    """Counts the bytes of all storages alive, from those given on, and how many they were at most."""

    def __init__(self, given: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()
        for tensor in given.values():
            self._count(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        # Storages keep one Python object for as long as anything, autograd included, holds them.
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
