"""A model is used by what its file says; files of earlier formats are read, unusable ones refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pipeline.errors import ModelError
from pipeline.features.channels import ChannelRecipe
from pipeline.inference.onnx_predictor import ModelFacts, OnnxPredictor
from pipeline.params.evaluate import TileParams
from pipeline.params.task import TextureParams

BANDS, SEEN = ("red", "nir"), ((1.0, 2.5), (30.0, 40.0))
FACTS = ModelFacts(ChannelRecipe.named(BANDS, BANDS, None, 10000.0), ("land", "water"), ("#000000", "#0000ff"), "land",
                   *SEEN, *SEEN, 4, 9.98, "ab" * 32, TileParams(size_px=128, overlap_px=32))
RECIPE = ChannelRecipe.named(BANDS, ("NDVI", "glcm_energy_red"), TextureParams(levels=9, low=-0.1), 255.0)
CHANNELS = replace(FACTS, recipe=RECIPE, low=(-1.0, 0.1), high=(1.0, 1.0))


def model_file(path: Path, metadata: dict[str, str]) -> Path:
    """A graph made by hand that gives its input back, as if two bands were two probabilities."""
    shape = ["N", 2, "H", "W"]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("image", "probabilities")]
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["probabilities"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_everything_is_in_the_file(tmp_path: Path) -> None:
    predictor = OnnxPredictor(model_file(tmp_path / "m.onnx", FACTS.to_metadata()))
    assert predictor.facts == FACTS
    assert (predictor.bands, predictor.classes) == (BANDS, FACTS.classes)
    image = np.arange(64, dtype=np.float32).reshape(1, 2, 4, 8)
    assert (predictor.probabilities(image) == image).all()


def test_the_channel_recipe_is_in_the_file(tmp_path: Path) -> None:
    predictor = OnnxPredictor(model_file(tmp_path / "m.onnx", CHANNELS.to_metadata()))
    assert predictor.facts == CHANNELS
    assert predictor.facts.recipe == RECIPE
    assert predictor.bands == predictor.facts.channels == RECIPE.channels
    assert (predictor.facts.bands, predictor.facts.reflectance_scale) == (BANDS, 255.0)


def test_files_of_before_channels_see_the_bands_as_they_are() -> None:
    new = ("band_low", "band_high", "channels", "texture")
    before = {k: v for k, v in FACTS.to_metadata().items() if k.removeprefix("kumulus.") not in new}
    assert ModelFacts.from_metadata({**before, "kumulus.format": "kumulus-onnx-1"}, "m") == FACTS
    with pytest.raises(ModelError, match=r"readable Kumulus metadata: KeyError\('kumulus\.texture'\)"):
        ModelFacts.from_metadata(before, "m")
    with pytest.raises(ModelError, match=r"\(kumulus\.format kumulus-onnx-2\): got 'kumulus-onnx-3'"):
        ModelFacts.from_metadata({**before, "kumulus.format": "kumulus-onnx-3"}, "m")


@pytest.mark.parametrize(("key", "value", "said"), [
    ("channels", '["NDVI", "glcm_energy_blue"]', "of one of task.bands .*: got 'blue'"),
    ("channels", '["NDVI", "MNDWI"]', "MNDWI needs a band named green"),
    ("texture", "null", "must have texture parameters"),
    ("texture", '{"levels": 1}', "levels"),
])
def test_a_recipe_that_cannot_be_is_refused(key: str, value: str, said: str) -> None:
    with pytest.raises(ModelError, match=f"m must have readable Kumulus metadata: .*{said}"):
        ModelFacts.from_metadata({**CHANNELS.to_metadata(), f"kumulus.{key}": value}, "m")


@pytest.mark.parametrize(("shape", "said"), [
    ((1, 3, 4, 4), r"must have the model's 2 channels \['red', 'nir'\]: got 3"),
    ((1, 2, 4, 6), r"multiples of 4: got \(4, 6\)"),
])
def test_images_it_cannot_take(tmp_path: Path, shape: tuple[int, ...], said: str) -> None:
    predictor = OnnxPredictor(model_file(tmp_path / "m.onnx", FACTS.to_metadata()))
    with pytest.raises(ModelError, match=said):
        predictor.probabilities(np.zeros(shape, dtype=np.float32))


def test_files_it_cannot_use(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"must be an \.onnx file: nothing is there"):
        OnnxPredictor(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match="that onnxruntime can open"):
        OnnxPredictor(tmp_path / "text.onnx")
    with pytest.raises(ModelError, match=r"that Kumulus exported .*got 'no such entry'"):
        OnnxPredictor(model_file(tmp_path / "plain.onnx", {}))
    with pytest.raises(ModelError, match=r"readable Kumulus metadata.*high"):
        OnnxPredictor(model_file(tmp_path / "part.onnx",
                                 {k: v for k, v in FACTS.to_metadata().items() if k != "kumulus.high"}))


def test_other_facts_other_metadata() -> None:
    assert replace(FACTS, provenance="cd" * 32).to_metadata() != FACTS.to_metadata()
    assert ModelFacts.from_metadata(FACTS.to_metadata(), "m") == FACTS


def test_tiles_of_files_of_before_and_of_broken_ones() -> None:
    before = {k: v for k, v in FACTS.to_metadata().items() if k != "kumulus.tiles"}
    assert ModelFacts.from_metadata(before, "m") == replace(FACTS, tiles=TileParams())
    with pytest.raises(ModelError, match=r"readable Kumulus metadata.*overlap_px"):
        ModelFacts.from_metadata({**before, "kumulus.tiles": '{"size_px": 64, "overlap_px": 40}'}, "m")
