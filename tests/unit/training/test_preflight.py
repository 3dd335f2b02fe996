"""The pre-flight counts what a step allocates without allocating it, and says what would fit."""

import re
from pathlib import Path

import psutil
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pipeline.errors import ModelError
from pipeline.losses.total import TotalLoss
from pipeline.networks.segmenter import build
from pipeline.networks.spec import ModelSpec
from pipeline.params.train import TrainParams
from pipeline.training import memory, preflight
from pipeline.training.memory import available_bytes
from pipeline.training.preflight import MemoryNeed, check_memory

CPU = torch.device("cpu")
PLAIN = {"architecture": "PlainCNN", "encoder": "", "encoder_depth": 3, "decoder_channels": [32, 16, 8]}


def params_of(size_px: int = 32, **train: object) -> TrainParams:
    return TrainParams.model_validate({"network": PLAIN, "patches": {"size_px": size_px}, **train})


def spec_of(params: TrainParams) -> ModelSpec:
    return ModelSpec(network=params.network, bands=("a", "b"), classes=("x", "y", "z"), colors=("#000000",) * 3,
                     background="x", reflectance_scale=10000, mean=(1000,) * 2, std=(100,) * 2, low=(1,) * 2,
                     high=(9000,) * 2, patch_size_px=params.patches.size_px,
                     size_multiple=2**params.network.encoder_depth, pixel_size_m=10, split="0" * 64)


def need_of(**train: object) -> MemoryNeed:
    params = params_of(**train)
    return preflight.preflight(spec_of(params), params, CPU)


def test_storages_are_counted_from_birth_to_release() -> None:
    with FakeTensorMode():
        given = torch.zeros(100)
        with preflight._Counted({"given": given, "a view of it": given[:5]}) as counted:
            assert counted.now == 400
            one = torch.ones(50, dtype=torch.float64)
            two = given + 1
            assert counted.now == 400 + 400 + 400
            two.mul_(2)
            flat = two.view(10, 10)
            del two
            assert counted.now == 1200
            del flat, one
            assert counted.now == 400
            leaf = torch.ones(1000, requires_grad=True)
            squared = (leaf * leaf).sum()  # the product goes, the factors stay
            assert counted.now == 400 + 4000 + 4
            del squared
    assert counted.peak == 400 + 2 * 4000 + 4


@pytest.mark.parametrize("train", [
    {"loss": {"weights": {"mcc": 1, "lovasz": 1, "boundary": 1, "focal": 1, "tversky": 1}},
     "network": PLAIN | {"boundary_head": True, "bottleneck_attention": "cbam"}},
    {"network": {"encoder": "mobilenet_v2", "encoder_depth": 3, "decoder_channels": [32, 16, 16],
                 "decoder_attention": "scse"}, "accumulation": 2, "precision": "bf16-mixed"},
])
def test_fake_steps_make_the_storages_of_real_ones(train) -> None:
    params = params_of(64, **train)
    segmenter = build(spec_of(params)).train()
    patches = params.batch_size // params.accumulation
    expected = preflight._peak_of_step(segmenter, params, CPU, patches)
    loss = TotalLoss(params.loss, torch.ones(3), classes=("x", "y", "z"))
    dtype = torch.bfloat16 if params.precision == "bf16-mixed" else None
    with preflight._Counted(segmenter.state_dict()) as counted:
        for _ in range(min(2, params.accumulation)):
            preflight._part(segmenter, loss, params, CPU, patches, dtype)
    assert counted.peak == pytest.approx(expected, rel=0.02)


def test_parts_of_the_need_by_hand() -> None:
    params = params_of()
    segmenter = build(spec_of(params))
    gradients = 4 * sum(p.numel() for p in segmenter.parameters())
    weights = sum(t.nbytes for t in segmenter.state_dict().values())
    need = preflight.preflight(segmenter, params, CPU)
    assert (need.weights, need.gradients, need.optimizer) == (weights, gradients, 2 * gradients)
    assert need.copies == weights  # the best epoch's
    assert need.margin == int(0.25 * need.activations) + 128 * 2**20
    assert need.total == (need.weights + need.gradients + need.optimizer + need.copies + need.activations
                          + need.margin)
    assert "activations 0.0" in str(need)


def test_settings_cost_what_they_must() -> None:
    plain = need_of()
    assert need_of(optimizer={"name": "sgd"}).optimizer == plain.gradients
    assert need_of(optimizer={"name": "sgd", "momentum": 0}).optimizer == 0
    assert need_of(ema_decay=0.9).copies == plain.copies + plain.weights
    assert need_of(devices=2, batch_size=8).copies == plain.copies + plain.gradients
    # Patches four times as large, and twice as many, cost as much.
    assert need_of(size_px=64).activations == pytest.approx(4 * plain.activations, rel=0.1)
    assert need_of(size_px=64, batch_size=16, patches={"size_px": 64}).activations == pytest.approx(
        8 * plain.activations, rel=0.1)
    assert need_of(size_px=64, precision="bf16-mixed").activations < 0.75 * need_of(size_px=64).activations
    halves = need_of(size_px=64, accumulation=2)
    assert halves.activations == pytest.approx(need_of(size_px=64).activations / 2, rel=0.1)


def test_nothing_is_drawn_or_touched() -> None:
    params = params_of(network=PLAIN)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    preflight.preflight(spec_of(params), params, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    segmenter = build(spec_of(params))
    weights = {n: v.clone() for n, v in segmenter.state_dict().items()}
    preflight._PEAKS.clear()
    preflight.preflight(segmenter, params, CPU)
    assert all(torch.equal(v, weights[n]) for n, v in segmenter.state_dict().items())
    assert all(p.grad is None for p in segmenter.parameters())


def test_what_fits_passes_and_what_would_fit_is_said() -> None:
    params = params_of(64)
    spec = spec_of(params)
    need = preflight.preflight(spec, params, CPU)
    assert check_memory(spec, params, CPU, limit_bytes=need.total) == need
    with pytest.raises(ModelError, match="parts of 8 patches of 64 px need") as error:
        check_memory(spec, params, CPU, limit_bytes=need.total - 1)
    advice = re.search(r"set train\.accumulation: (\d+) with train\.batch_size: 8, whose parts of (\d+) need",
                       str(error.value))
    assert advice is not None
    assert advice.groups() == ("2", "4")
    assert "\n" not in str(error.value)
    # As advised it fits; a quarter of that is found where half is too much.
    halves, quarters = (params.model_copy(update={"accumulation": n}) for n in (2, 4))
    assert check_memory(spec, halves, CPU, limit_bytes=need.total - 1).total < need.total
    with pytest.raises(ModelError, match=r"set train\.accumulation: 4 with"):
        check_memory(spec, params, CPU, limit_bytes=preflight.preflight(spec, quarters, CPU).total)
    with pytest.raises(ModelError, match=r"of 0\.00 GiB that are free; one patch does not fit either: .*bf16-mixed$"):
        check_memory(spec, params, CPU, limit_bytes=1000)


def test_processes_on_cpus_share_the_memory_of_the_machine() -> None:
    params = params_of(devices=2)
    need = preflight.preflight(spec_of(params), params, CPU)
    check_memory(spec_of(params), params, CPU, limit_bytes=2 * need.total)
    with pytest.raises(ModelError, match="must fit the memory of cpu"):
        check_memory(spec_of(params), params, CPU, limit_bytes=2 * need.total - 2)


def test_networks_that_cannot_learn_from_single_patches_say_so() -> None:
    params = params_of(64, network={"architecture": "DeepLabV3Plus", "encoder_depth": 5, "decoder_channels": []},
                       accumulation=8)
    with pytest.raises(ModelError, match=r"trainable on parts of 1 patches .*: Expected more than 1 value"):
        preflight.preflight(spec_of(params), params, CPU)
    # So it is not advised either, and nobody is told that one patch would not fit.
    whole = params.model_copy(update={"accumulation": 4})
    with pytest.raises(ModelError, match=r"smaller parts .* of 1 patches, cannot be trained \(Expected more than 1 val"
                                         r"ue per channel .*\): choose a smaller") as error:
        check_memory(spec_of(whole), whole, CPU, limit_bytes=1000)
    assert "one patch does not fit" not in str(error.value)


def test_scoring_val_counts_where_it_takes_more_than_a_step() -> None:
    params = params_of(64)
    segmenter = build(spec_of(params))
    small, large = (preflight.preflight(segmenter, params, CPU, shape) for shape in ((1, 64, 64), (32, 256, 256)))
    without = preflight.preflight(segmenter, params, CPU)
    assert without.scoring == 0 < small.scoring < small.activations == large.activations < large.scoring
    assert small.total == without.total
    assert large.total == (without.total - without.margin - without.activations + large.scoring + large.margin)
    assert large.margin == int(0.25 * large.scoring) + 128 * 2**20
    assert "scoring 0." in str(large)
    # Accumulation makes steps smaller, not the batches of val: what would fail after an epoch is refused before it.
    parts = params.model_copy(update={"accumulation": 8})
    limit = preflight.preflight(segmenter, parts, CPU).total
    assert check_memory(segmenter, parts, CPU, limit_bytes=limit).total <= limit
    with pytest.raises(ModelError, match=r"scoring val must fit .* cpu: 32 windows of 256 x 256 px .*block_size_m"):
        check_memory(segmenter, parts, CPU, limit_bytes=limit, scored_NHW=(32, 256, 256))


def test_fake_scoring_makes_the_storages_of_a_real_one() -> None:
    segmenter = build(spec_of(params_of(64))).eval()
    expected = preflight._peak_of_scoring(segmenter, CPU, (3, 64, 96))
    with preflight._Counted(segmenter.state_dict()) as counted, torch.no_grad():
        for _ in range(2):
            logits = segmenter(torch.zeros(3, 2, 64, 96))
            segmenter.decode(logits).argmax(dim=1)
    assert counted.peak == pytest.approx(expected, rel=0.02)


def test_weights_that_are_there_already_are_not_asked_for_twice(monkeypatch) -> None:
    params = params_of()
    segmenter = build(spec_of(params))
    need = preflight.preflight(segmenter, params, CPU)
    monkeypatch.setattr(preflight, "available_bytes", lambda _: need.total - need.weights)
    assert check_memory(segmenter, params, CPU) == need


def group(folder: Path, limit: str, used: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")


def test_limits_of_process_groups(tmp_path) -> None:
    assert memory._group_limits(tmp_path, "") == []
    group(tmp_path, "max", 10, 0)
    group(tmp_path / "a", "1000", 300, 50)
    group(tmp_path / "a/b", "500", 100, 0)
    assert sorted(memory._group_limits(tmp_path, "a/b")) == [400, 750]
    assert memory._group_limits(tmp_path, "a") == [750]
    # A container whose own group is the root.
    group(tmp_path, "2000", 500, 100)
    assert memory._group_limits(tmp_path, "elsewhere/x") == [1600]
    old = tmp_path / "old/memory"
    old.mkdir(parents=True)
    for name, value in (("limit_in_bytes", "900"), ("usage_in_bytes", "200"), ("stat", "total_inactive_file 100")):
        (old / f"memory.{name}").write_text(value)
    assert memory._group_limits(tmp_path / "old", "") == [800]


def test_a_group_bounds_what_is_available(tmp_path, monkeypatch) -> None:
    group(tmp_path, "1000", 400, 100)
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_own_group", lambda: "")
    assert available_bytes(CPU) == 700
    group(tmp_path, "max", 400, 100)
    assert 0 < available_bytes(CPU) <= psutil.virtual_memory().total
