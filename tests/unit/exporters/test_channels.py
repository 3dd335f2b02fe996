"""A model that sees channels: its file alone maps a scene of bands, and its card says what the channels are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import SceneError
from pipeline.exporters.model_card import _input
from pipeline.exporters.onnx_model import check_parity, export_onnx, parity_windows
from pipeline.exporters.predict import predict_scenes
from pipeline.geo.raster_io import read
from pipeline.inference.network import NetworkPredictor
from pipeline.inference.onnx_predictor import ModelFacts, OnnxPredictor
from pipeline.inference.raster_pixels import open_pixels
from pipeline.inference.sources import ChannelPixels
from pipeline.networks.members import save_member
from pipeline.networks.segmenter import Segmenter, build
from pipeline.networks.spec import ModelSpec
from pipeline.params.evaluate import TileParams
from pipeline.params.network import NetworkParams
from pipeline.params.task import TextureParams
from tests.unit.inference.whole_maps import class_bands

BANDS = ("blue", "green", "red", "nir")
TILES = TileParams(size_px=64, overlap_px=16)
Scene = Callable[..., Path]


@pytest.fixture(scope="module")
def network() -> Segmenter:
    spec = ModelSpec(
        network=NetworkParams(encoder_depth=3, decoder_channels=(16, 8, 8)), bands=BANDS,
        channels=("red", "NDVI", "glcm_contrast_nir"), texture=TextureParams(levels=16), mean=(1500, 0.1, 4),
        std=(700, 0.4, 8), low=(200, -0.9, 0), high=(3200, 0.9, 100), band_low=(200,) * 4, band_high=(3000,) * 4,
        classes=("background", "settlement", "water"), colors=("#b8b0a4", "#d1495b", "#2e86ab"),
        background="background", reflectance_scale=10000, patch_size_px=32, size_multiple=8, pixel_size_m=10,
        split="0" * 64)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build(spec).eval()


@pytest.fixture(scope="module")
def model(network: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("channels") / "model.onnx"
    export_onnx(path, [network], ModelFacts.of([network.spec], "", TILES).to_metadata(), opset=18)
    return path


def test_the_file_alone_maps_a_scene_of_bands(
    network: Segmenter, model: Path, scene_file: Scene, tmp_path: Path
) -> None:
    scene = scene_file()
    (made,) = predict_scenes([scene], model, tmp_path / "out")
    with open_pixels(scene, BANDS) as pixels:
        channels = ChannelPixels(pixels, network.spec.recipe)
        expected, by_torch = (
            np.concatenate([classes for _, classes in class_bands(predictor, channels, TILES)])
            for predictor in (OnnxPredictor(model), NetworkPredictor([network]))
        )
        assert check_parity(model, [network], parity_windows(channels, 32, 8), 1e-4) < 1e-4
    mapped = read(made.class_map)
    assert (mapped == expected).all()
    assert np.mean(mapped == by_torch) > 0.999
    assert ((mapped == 255) == (read(scene)[..., 0] == 0)).all()
    assert len(np.unique(mapped)) > 2


def test_bands_are_checked_and_ordered_by_name(model: Path, scene_file: Scene, tmp_path: Path) -> None:
    (plain,) = predict_scenes([scene_file()], model, tmp_path / "out")
    (unnamed,) = predict_scenes([scene_file("unnamed", bands=("1", "2", "3", "4"))], model, tmp_path / "out",
                                bands=BANDS)
    assert (read(unnamed.class_map) == read(plain.class_map)).all()
    with pytest.raises(SceneError, match=r"model's bands \['blue', 'green', 'red', 'nir'\]: \['nir'\] missing"):
        predict_scenes([scene_file("few", bands=BANDS[:3])], model, tmp_path / "out")
    with pytest.raises(SceneError, match=r"as \w+ runs from 0\.03.*--scale 10000"):
        predict_scenes([scene_file("unit", factor=1e-4)], model, tmp_path / "out")


def test_a_checkpoint_folder_computes_the_channels_too(
    network: Segmenter, model: Path, scene_file: Scene, tmp_path: Path
) -> None:
    save_member(tmp_path / "checkpoint/members/0", network, "epoch\n")
    maps = [predict_scenes([scene_file()], ref, tmp_path / name, TILES)[0].class_map
            for ref, name in ((model, "a"), (tmp_path / "checkpoint", "b"))]
    assert np.mean(read(maps[0]) == read(maps[1])) > 0.999


def test_the_card_lists_channels_and_what_they_come_from(
    network: Segmenter, segmenter: Callable[[int], Segmenter]
) -> None:
    said = _input(ModelFacts.of([network.spec], ""))
    assert "shape (N, 3, H, W), channels in this order" in said
    assert "| NDVI | -0.9 | 0.9 |" in said
    assert "| glcm_contrast_nir | 0 | 100 |" in said
    assert "(NDVI of reflectance by spyndex's formulas; glcm_ from" in said
    assert "in 16 levels from 0 to 0.5, in windows of 7 px at a distance of 1 px" in said
    assert said.index("| channel |") < said.index("| band |") < said.index("| nir | 200 | 3000 |")
    plain = _input(ModelFacts.of([segmenter(0).spec], ""))
    assert "bands in this order" in plain
    assert "channel" not in plain
