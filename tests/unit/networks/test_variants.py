"""Every variant is built, learns, is stored, has each parameter in one layer, and leaves as ONNX."""

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from pipeline.errors import ModelError
from pipeline.networks import stages
from pipeline.networks.members import load_member, save_member
from pipeline.networks.segmenter import build

VARIANTS = {
    "default": {},
    "all attention": {"decoder_attention": "scse", "bottleneck_attention": "cbam", "boundary_head": True},
    "cse": {"decoder_attention": "cse", "encoder": "timm-efficientnet-b0"},
    "mobilenet": {"encoder": "mobilenet_v2", "encoder_depth": 4, "decoder_channels": (32, 16, 16, 16)},
    "timm": {"encoder": "tu-efficientnet_b0", "encoder_depth": 4, "decoder_channels": (), "boundary_head": True},
    "plain": {"architecture": "PlainCNN", "encoder": "", "boundary_head": True, "bottleneck_attention": "cbam"},
    "unet++": {"architecture": "UnetPlusPlus", "decoder_attention": "cse"},
    "fpn": {"architecture": "FPN", "encoder_depth": 5, "decoder_channels": (), "boundary_head": True},
    "deeplab": {"architecture": "DeepLabV3Plus", "encoder": "mobilenet_v2", "encoder_depth": 5, "decoder_channels": (),
                "boundary_head": True, "bottleneck_attention": "cbam"},
    "segformer": {"architecture": "Segformer", "encoder": "mit_b0", "encoder_depth": 5, "decoder_channels": ()},
    "manet": {"architecture": "MAnet", "encoder": "mobileone_s0"},
    "linknet": {"architecture": "Linknet", "encoder": "densenet121", "decoder_channels": ()},
    "transformer": {"architecture": "UPerNet", "encoder": "tu-convnext_atto", "encoder_depth": 5,
                    "decoder_channels": ()},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_each_parameter_is_in_one_layer_and_gets_a_gradient(spec_of, name) -> None:
    torch.manual_seed(0)
    segmenter = build(spec_of(5, **VARIANTS[name]))
    layers = segmenter.layers()
    listed = [id(p) for _, parameters in layers for p in parameters]
    assert sorted(listed) == sorted(id(p) for p in segmenter.parameters())
    names = [layer for layer, _ in layers]
    depth = segmenter.spec.network.encoder_depth
    assert names[-2:] == ["decoder", "head"]
    assert names[:-2] == [f"encoder.{i}" for i in range(1, depth + 1) if f"encoder.{i}" in names]
    assert len(names) - 2 >= depth - 1
    outputs = segmenter.eval().outputs(1000 + 100 * torch.randn(2, 5, 64, 64))
    assert outputs.logits_NKHW.shape == (2, 3, 64, 64)
    assert (outputs.boundary_N1HW is not None) == segmenter.spec.network.boundary_head
    total = outputs.logits_NKHW.square().sum()
    if outputs.boundary_N1HW is not None:
        assert outputs.boundary_N1HW.shape == (2, 1, 64, 64)
        total = total + outputs.boundary_N1HW.square().sum()
    total.backward()
    assert [n for n, p in segmenter.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", ["all attention", "timm", "plain", "deeplab"])
def test_variants_are_stored_and_loaded_alike(spec_of, name, tmp_path) -> None:
    segmenter = build(spec_of(3, **VARIANTS[name])).eval()
    save_member(tmp_path, segmenter, "")
    image = 1000 + 100 * torch.randn(1, 3, 64, 64)
    loaded = load_member(tmp_path)
    assert torch.equal(loaded(image), segmenter(image))
    assert loaded.spec == segmenter.spec
    assert torch.equal(segmenter.outputs(image).logits_NKHW, segmenter(image))


@pytest.mark.parametrize("name", ["all attention", "plain"])
def test_variants_leave_as_onnx(spec_of, name, tmp_path: Path) -> None:
    segmenter = build(spec_of(4, **VARIANTS[name])).eval()
    path = tmp_path / "model.onnx"
    shapes = {"image_NCHW": {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        multiple = segmenter.spec.size_multiple
        torch.onnx.export(segmenter, (torch.zeros(2, 4, 4 * multiple, 6 * multiple),), path, dynamo=True,
                          dynamic_shapes=shapes, opset_version=18, verbose=False, external_data=False)
    image = (1000 + 100 * torch.randn(3, 4, 64, 96)).numpy()
    image[0, :, 10:20] = np.nan
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert len(session.get_outputs()) == 1
    (found,) = session.run(None, {session.get_inputs()[0].name: image})
    with torch.no_grad():
        expected = segmenter(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_boundary_head_is_no_part_of_the_classes(spec_of) -> None:
    torch.manual_seed(0)
    without = build(spec_of()).eval()
    torch.manual_seed(0)
    beside = build(spec_of(boundary_head=True)).eval()
    image = 1000 + 100 * torch.randn(1, 4, 32, 32)
    assert torch.equal(without(image), beside(image))
    assert beside.outputs(image).boundary_N1HW.grad_fn is not None


def test_attention_at_the_bottleneck_changes_the_deepest_feature_only(spec_of) -> None:
    torch.manual_seed(0)
    plain = build(spec_of()).eval()
    torch.manual_seed(0)
    gated = build(spec_of(bottleneck_attention="cbam")).eval()
    gated.load_state_dict(plain.state_dict(), strict=False)
    image = 1000 + 100 * torch.randn(1, 4, 32, 32)
    assert not torch.equal(plain(image), gated(image))
    seen = []
    gated.attention.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    gated(image)
    assert torch.equal(seen[0], plain.body.encoder(plain.normalizer(image))[-1])


def test_stages_nobody_uses_are_left_out_without_changing_the_rest(spec_of, tmp_path) -> None:
    spec = spec_of(encoder="mobilenet_v2", encoder_depth=4, decoder_channels=(32, 16, 16, 16))
    torch.manual_seed(0)
    segmenter = build(spec)
    assert segmenter.dropped[0] == "body.encoder.features.14"
    assert not [n for n in segmenter.state_dict() if n.startswith("body.encoder.features.14")]
    # The initial values are those of a network with these stages, and so are its logits.
    torch.manual_seed(0)
    whole = smp.Unet("mobilenet_v2", encoder_depth=4, encoder_weights=None, decoder_channels=(32, 16, 16, 16),
                     in_channels=4, classes=3).eval().to(memory_format=torch.channels_last)
    image = 1000 + 100 * torch.randn(1, 4, 32, 32)
    assert torch.equal(whole(segmenter.normalizer(image)), segmenter.eval()(image))
    # Members of before this still load.
    save_member(tmp_path, segmenter, "")
    old = segmenter.state_dict() | {f"body.{n}": v for n, v in whole.state_dict().items()}
    save_file({n: v.contiguous() for n, v in old.items()}, tmp_path / "weights.safetensors")
    assert torch.equal(load_member(tmp_path)(image), segmenter(image))


def test_what_cannot_be_taken_out_is_put_back() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Linear(2, 3))
    assert stages.drop(module, ["0"], lambda: module(torch.ones(1, 1))) == []
    assert isinstance(module[0], torch.nn.Linear)


def test_a_larger_patch_is_tried_where_a_small_image_is_too_small(spec_of) -> None:
    pan = {"architecture": "PAN", "encoder_depth": 5, "decoder_channels": ()}
    assert build(spec_of(patch_size_px=128, **pan)).layers()[0][0] == "encoder.1"
    with pytest.raises(ModelError, match=r"must run on 64 px images: PAN with encoder resnet18: Given input size"):
        build(spec_of(**pan))


@pytest.mark.parametrize(("network", "said"), [
    ({"architecture": "FPN", "decoder_channels": (), "decoder_attention": "scse", "encoder_depth": 5},
     "decoder_attention must be none for FPN, .*: got scse; use Unet or UnetPlusPlus"),
    ({"encoder": "tu-no_such_net"}, "one that segmentation_models_pytorch can build: Unet with encoder tu-no_such_net"),
])
def test_what_would_have_no_effect_or_cannot_be_built_is_refused_in_one_line(spec_of, network, said) -> None:
    with pytest.raises(ModelError, match=said) as error:
        build(spec_of(**network))
    assert "\n" not in str(error.value)


def test_building_for_inference_is_no_part_of_inference(spec_of) -> None:
    with torch.inference_mode():
        segmenter = build(spec_of())
        assert [layer for layer, _ in segmenter.layers()] == ["encoder.1", "encoder.2", "encoder.3", "decoder", "head"]
        assert not segmenter(torch.zeros(1, 4, 16, 16)).requires_grad
