"""The network takes scene values with NaN, survives storage byte for byte, and refuses what it cannot be."""

import json

import pytest
import torch
from pydantic import ValidationError

from pipeline.errors import ModelError
from pipeline.features.channels import ChannelRecipe
from pipeline.networks.members import load_member, member_folders, save_member
from pipeline.networks.segmenter import build
from pipeline.networks.spec import ModelSpec
from pipeline.params.network import NetworkParams
from pipeline.params.task import TextureParams


@pytest.fixture
def spec():
    return ModelSpec(network=NetworkParams(encoder_depth=3, decoder_channels=(16, 8, 8)), bands=("red", "nir"),
                     classes=("a", "b", "c"), colors=("#000000",) * 3, background="a", reflectance_scale=10000,
                     mean=(1000, 2000), std=(100, 300), low=(1, 1), high=(9000, 9000), patch_size_px=32,
                     size_multiple=8, pixel_size_m=10, split="0" * 64)


def test_normalization_by_hand_and_nan_becomes_the_mean(spec):
    normalizer = build(spec).normalizer
    image = torch.tensor([1100.0, float("nan"), 2000.0, 2600.0]).view(1, 2, 1, 2)
    assert normalizer(image).flatten().tolist() == [1.0, 0.0, 0.0, 2.0]


def test_probabilities_sum_to_one_even_where_all_is_invalid(spec):
    segmenter = build(spec).eval()
    probs = segmenter.decode(segmenter(torch.full((1, 2, 16, 24), float("nan"))))
    assert probs.shape == (1, 3, 16, 24)
    assert torch.allclose(probs.sum(dim=1), torch.ones(1, 16, 24))


def test_members_are_stored_byte_for_byte_and_loaded_alike(spec, tmp_path):
    segmenter = build(spec).eval()
    for name in ("0", "1"):
        save_member(tmp_path / "members" / name, segmenter, "epoch\n1\n")
    first, second = member_folders(tmp_path)
    for file in ("weights.safetensors", "model.json", "history.csv"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    image = torch.rand(1, 2, 16, 16) * 3000
    assert torch.equal(load_member(first)(image), segmenter(image))


def test_missing_and_unfitting_files_are_named(spec, tmp_path):
    with pytest.raises(ModelError, match="must hold members/0"):
        member_folders(tmp_path)
    with pytest.raises(ModelError, match=r"model\.json not found"):
        load_member(tmp_path)
    save_member(tmp_path, build(spec), "")
    model = (tmp_path / "model.json").read_text().replace('"a",\n', '"a",\n"d",\n')
    (tmp_path / "model.json").write_text(model)
    with pytest.raises(ModelError, match=r"fit its model\.json"):
        load_member(tmp_path)


def test_the_network_sees_the_channels_of_the_recipe(spec, tmp_path):
    seen = {"channels": ("nir", "NDVI", "glcm_energy_red"), "texture": TextureParams(levels=8),
            "mean": (2000, 0.3, 0.5), "std": (300, 0.1, 0.2), "low": (1, -1, 0), "high": (9000, 1, 1)}
    other = ModelSpec.model_validate(spec.model_dump() | seen)
    save_member(tmp_path, build(other), "")
    loaded = load_member(tmp_path)
    assert loaded.spec == other
    assert loaded.spec.recipe == ChannelRecipe.named(("red", "nir"), seen["channels"], TextureParams(levels=8), 10000)
    assert loaded(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)
    with pytest.raises(RuntimeError, match="size of tensor"):
        loaded(torch.zeros(1, 2, 16, 16))


def test_models_of_before_channels_see_the_bands_as_they_are(spec, tmp_path):
    save_member(tmp_path, build(spec), "")
    assert (spec.channels, spec.band_low, spec.band_high) == (spec.bands, spec.low, spec.high)
    model = json.loads((tmp_path / "model.json").read_text())
    for name in ("channels", "texture", "band_low", "band_high"):
        del model[name]
    (tmp_path / "model.json").write_text(json.dumps(model))
    assert load_member(tmp_path).spec == spec
    assert spec.recipe.is_plain


@pytest.mark.parametrize(("change", "said"), [
    ({"channels": ("red", "nir", "NDVI")}, r"mean must have one value for each of channels \['red', 'nir', 'NDVI'\]"),
    ({"band_high": (9000,)}, r"band_high must have one value for each of bands \['red', 'nir'\]: got \[9000\.0\]"),
    ({"channels": ("red", "glcm_energy_nir")}, "must have texture parameters"),
    ({"channels": ("red", "NDWI")}, "needs a band named green"),
])
def test_a_recipe_that_does_not_fit_is_refused(spec, change, said, tmp_path):
    with pytest.raises(ValidationError, match=said):
        ModelSpec.model_validate(spec.model_dump() | change)
    save_member(tmp_path, build(spec), "")
    model = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(model | change))
    with pytest.raises(ModelError, match=f"fit its model\\.json: .*{said}"):
        load_member(tmp_path)


@pytest.mark.parametrize("change", [{"architecture": "Unett"}, {"encoder": "resnet19"}])
def test_unknown_networks_are_refused_in_one_line(spec, change):
    wrong = spec.model_copy(update={"network": spec.network.model_copy(update=change)})
    with pytest.raises(ModelError, match=r"train\.network must be") as error:
        build(wrong)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("change", "message"), [
    ({"architecture": "FPN", "encoder_depth": 4, "decoder_channels": ()}, "logits of its input's size: FPN"),
    ({"architecture": "Linknet"}, r"decoder_channels must be \[\] for Linknet"),
])
def test_networks_that_would_not_do_as_asked_are_refused(spec, change, message):
    wrong = spec.model_copy(update={"network": spec.network.model_copy(update=change)})
    with pytest.raises(ModelError, match=message):
        build(wrong)
