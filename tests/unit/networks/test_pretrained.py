"""Starting weights come from the library or a file, fit any number of bands, and are known by their digest."""

import hashlib
import json
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from segmentation_models_pytorch.encoders._utils import patch_first_conv
from timm.models._manipulate import adapt_input_conv

from pipeline.errors import ModelError
from pipeline.networks.members import load_member, save_member
from pipeline.networks.pretrained import encoder_start, to_channels
from pipeline.networks.segmenter import build
from pipeline.params.network import NetworkParams


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def encoder_state(name: str = "resnet18", channels: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    encoder = smp.encoders.get_encoder(name, in_channels=channels, depth=3, weights=None)
    return {n: v.contiguous() for n, v in encoder.state_dict().items()}


@pytest.fixture
def resnet(tmp_path: Path) -> Path:
    """A resnet18 as torchvision stores it, classifier included."""
    state = encoder_state() | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    save_file(state, tmp_path / "resnet.safetensors")
    return tmp_path / "resnet.safetensors"


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7])
def test_first_convolutions_are_adapted_as_both_libraries_do(channels) -> None:
    convolution = torch.nn.Conv2d(3, 6, 3)
    weight = convolution.weight.detach().clone()
    found = to_channels(weight, channels)
    assert torch.allclose(found, adapt_input_conv(channels, weight.clone()))
    if channels != 3:
        patch_first_conv(convolution, channels, pretrained=True)
    assert torch.allclose(found, convolution.weight)


def test_four_channels_by_hand() -> None:
    weight = torch.tensor([4.0, 8.0, 12.0]).view(1, 3, 1, 1)
    assert to_channels(weight, 4).flatten().tolist() == [3.0, 6.0, 9.0, 3.0]
    assert to_channels(weight, 1).flatten().tolist() == [24.0]
    assert to_channels(weight, 2).flatten().tolist() == [6.0, 12.0]


def test_a_file_is_loaded_by_name_and_its_digest_recorded(spec_of, resnet, tmp_path) -> None:
    before = torch.get_rng_state()
    spec, start = encoder_start(spec_of(4, weights=str(resnet), weights_sha256=digest_of(resnet)))
    assert torch.equal(torch.get_rng_state(), before)
    assert spec.network.weights == "resnet.safetensors"
    assert spec.network.weights_sha256 == digest_of(resnet)
    state = encoder_state()
    assert torch.equal(start["body.encoder.layer1.0.conv1.weight"], state["layer1.0.conv1.weight"])
    assert torch.equal(start["body.encoder.bn1.running_var"], state["bn1.running_var"])
    assert torch.allclose(start["body.encoder.conv1.weight"], to_channels(state["conv1.weight"], 4))
    segmenter = build(spec)
    wanted = {n for n in segmenter.state_dict() if n.startswith("body.encoder.")}
    assert set(start) == wanted
    segmenter.load_state_dict(start, strict=False)
    # A member with this spec is rebuilt without the file.
    save_member(tmp_path / "0", segmenter, "")
    resnet.unlink()
    assert load_member(tmp_path / "0").spec == spec


def test_no_weights_change_nothing(spec_of) -> None:
    spec = spec_of()
    assert encoder_start(spec) == (spec, {})


def test_pickled_weights_of_more_bands_are_adapted_too(spec_of, tmp_path) -> None:
    path = tmp_path / "ten.pt"
    torch.save(encoder_state(channels=10), path)
    _, start = encoder_start(spec_of(2, weights=str(path), weights_sha256=digest_of(path)))
    given = encoder_state(channels=10)["conv1.weight"]
    assert torch.allclose(start["body.encoder.conv1.weight"], given[:, :2] * 5)


def test_timms_own_files_fit_timms_encoders(spec_of, tmp_path) -> None:
    torch.manual_seed(3)
    whole = timm.create_model("efficientnet_b0", pretrained=False)
    path = tmp_path / "timm.safetensors"
    save_file({n: v.contiguous() for n, v in whole.state_dict().items()}, path)
    network = {"encoder": "tu-efficientnet_b0", "weights": str(path), "weights_sha256": digest_of(path)}
    spec, start = encoder_start(spec_of(5, **network))
    name = "blocks.1.0.conv_pw.weight"
    assert torch.equal(start[f"body.encoder.model.{name}"], whole.state_dict()[name])
    assert torch.allclose(start["body.encoder.model.conv_stem.weight"],
                          adapt_input_conv(5, whole.state_dict()["conv_stem.weight"]))
    build(spec).load_state_dict(start, strict=False)


def test_plain_cnn_starts_from_a_file(spec_of, tmp_path) -> None:
    plain = {"architecture": "PlainCNN", "encoder": ""}
    state = build(spec_of(3, **plain)).body.encoder.state_dict()
    path = tmp_path / "plain.safetensors"
    save_file({n: v.contiguous() for n, v in state.items()}, path)
    _, start = encoder_start(spec_of(4, **plain, weights=str(path), weights_sha256=digest_of(path)))
    assert torch.equal(start["body.encoder.stages.1.0.0.weight"], state["stages.1.0.0.weight"])


@pytest.mark.parametrize("channels", [3, 4])
def test_imagenet_is_the_librarys(spec_of, resnet, tmp_path, monkeypatch, channels) -> None:
    asked = []

    def download(repo_id: str, filename: str, revision: str) -> str:
        asked.append((repo_id, filename, revision))
        return str(resnet if filename.endswith(".safetensors") else resnet.with_name(filename))

    (tmp_path / "config.json").write_text(json.dumps({}))
    monkeypatch.setattr(smp.encoders, "hf_hub_download", download)
    with pytest.warns(UserWarning, match="is what the library has today, .*; set .*weights_sha256 to ") as warned:
        spec, start = encoder_start(spec_of(channels, weights="imagenet"))
    assert str(warned[0].message).endswith(spec.network.weights_sha256)
    assert asked[-1][:2] == ("smp-hub/resnet18.imagenet", "model.safetensors")
    library = smp.encoders.get_encoder("resnet18", in_channels=channels, depth=3, weights="imagenet").state_dict()
    assert all(torch.allclose(start[f"body.encoder.{n}"], v) for n, v in library.items()
               if f"body.encoder.{n}" in start)
    assert spec.network.weights == "imagenet"
    assert len(spec.network.weights_sha256) == 64
    # The digest says which weights they were, for any number of bands.
    pinned = spec_of(5, weights="imagenet", weights_sha256=spec.network.weights_sha256)
    assert encoder_start(pinned)[0].network == spec.network.model_copy()
    with pytest.raises(ModelError, match=r"must have weights_sha256 0{64}: the library's weights of resnet18 have "):
        encoder_start(spec_of(4, weights="imagenet", weights_sha256="0" * 64))


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
def test_without_a_connection_one_line_says_so(spec_of, encoder, monkeypatch, tmp_path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=f"in reach of the library, or in its cache, for encoder {encoder}: ") as error:
        encoder_start(spec_of(4, encoder=encoder, weights="imagenet"))
    assert "\n" not in str(error.value)


def test_encoders_without_imagenet_weights_are_named(spec_of) -> None:
    with pytest.raises(ModelError, match=r"for encoder dpn92: .*Available options are: .*imagenet\+5k"):
        encoder_start(spec_of(4, encoder="dpn92", weights="imagenet"))


def test_files_that_do_not_fit_are_refused_with_what_differs(spec_of, tmp_path) -> None:
    def refused(state: object, said: str, **network: object) -> None:
        path = tmp_path / "w.pt"
        torch.save(state, path)
        with pytest.raises(ModelError, match=said) as error:
            encoder_start(spec_of(4, weights=str(path), weights_sha256=digest_of(path), **network))
        assert "\n" not in str(error.value)

    state = encoder_state()
    refused({n: v for n, v in state.items() if n != "bn1.weight"}, r'Missing key\(s\) in state_dict: "bn1\.weight"')
    refused(state | {"extra.weight": torch.zeros(1)}, r'Unexpected key\(s\) in state_dict: "extra\.weight"')
    refused(state | {"bn1.weight": torch.zeros(5)}, r"size mismatch for bn1\.weight: .*\[5\].*\[64\]")
    refused(state | {"conv1.weight": torch.zeros(64, 3, 5, 5)}, r"size mismatch for conv1\.weight")
    refused({"state_dict": state}, r"must hold tensors by name: .* holds dict; save the encoder's state_dict")
    refused([1], "must hold tensors by name: .* holds list")
    refused(timm.create_model("resnet18").state_dict(), "must hold the encoder tu-efficientnet_b0 by name and shape",
            encoder="tu-efficientnet_b0")


def test_a_relative_path_is_of_the_real_repository(spec_of, resnet, tmp_path, monkeypatch) -> None:
    """DVC runs experiments in copies, where files that git does not track are missing."""
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)
    pinned = spec_of(4, weights="resnet.safetensors", weights_sha256=digest_of(resnet))
    with pytest.raises(ModelError, match=r"got resnet.safetensors, which is .*copy/resnet.safetensors"):
        encoder_start(pinned)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert encoder_start(pinned)[1]


def test_files_must_exist_be_readable_and_be_pinned(spec_of, resnet, tmp_path) -> None:
    with pytest.raises(ModelError, match=r"existing \.safetensors, \.pt or \.pth file: got nowhere\.safetensors"):
        encoder_start(spec_of(weights="nowhere.safetensors"))
    with pytest.raises(ModelError, match=rf"got none; set it to {digest_of(resnet)}"):
        encoder_start(spec_of(weights=str(resnet)))
    with pytest.raises(ModelError, match=rf"got {'0' * 64}; set it to {digest_of(resnet)}"):
        encoder_start(spec_of(weights=str(resnet), weights_sha256="0" * 64))
    for name in ("torn.safetensors", "torn.pt"):
        (tmp_path / name).write_bytes(b"torn")
        with pytest.raises(ModelError, match="must be a readable file of tensors"):
            encoder_start(spec_of(weights=str(tmp_path / name), weights_sha256=digest_of(tmp_path / name)))


@pytest.mark.parametrize(("network", "said"), [
    ({"architecture": "PlainCNN"}, 'encoder must be "" for PlainCNN, and only there: got \'resnet18\''),
    ({"encoder": ""}, "and only there: got '' for Unet"),
    ({"architecture": "PlainCNN", "encoder": "", "weights": "imagenet"}, "the library does not know"),
    ({"architecture": "PlainCNN", "encoder": "", "decoder_attention": "cse"}, "whose decoder joins no features"),
    ({"encoder_depth": 3, "decoder_channels": (16, 8, 8), "decoder_attention": "scse"},
     r"16 or more with decoder_attention scse, .*: got \[16, 8, 8\]"),
    ({"encoder_depth": 3, "decoder_channels": (16, 16, 8), "decoder_attention": "cse"}, "16 or more with"),
    ({"architecture": "DPT", "encoder": "tu-vit_tiny_patch16_224", "decoder_channels": (),
      "bottleneck_attention": "cbam"}, "bottleneck_attention must be none for DPT, .*: got cbam"),
    ({"weights_sha256": "0" * 64}, "where no weights are started from"),
    ({"weights": "a.pt", "weights_sha256": "abc"}, "should match pattern"),
])
def test_combinations_without_effect_are_refused_by_the_schema(network, said) -> None:
    with pytest.raises(ValidationError, match=said):
        NetworkParams.model_validate(network)
