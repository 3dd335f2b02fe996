"""A tiny trained-looking network with its ONNX file, and scenes written to files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine
from pyproj import CRS

from pipeline.exporters.onnx_model import export_onnx
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.inference.onnx_predictor import ModelFacts
from pipeline.networks.segmenter import Segmenter, build
from pipeline.networks.spec import ModelSpec
from pipeline.params.network import NetworkParams

BANDS = ("blue", "green", "red", "nir")
DIGEST = "ab" * 32


@pytest.fixture(scope="session")
def segmenter() -> Callable[[int], Segmenter]:
    """Makes untrained networks by seed; running statistics of their normalizations are drawn too."""

    def make(seed: int) -> Segmenter:
        spec = ModelSpec(
            network=NetworkParams(encoder_depth=3, decoder_channels=(16, 8, 8)), bands=BANDS,
            classes=("background", "settlement", "water"), colors=("#b8b0a4", "#d1495b", "#2e86ab"),
            background="background", reflectance_scale=10000, mean=(900, 1000, 1100, 2000), std=(300, 300, 400, 800),
            low=(200, 200, 200, 100 + seed), high=(3000, 3100, 3200, 5000 + seed), patch_size_px=32, size_multiple=8,
            pixel_size_m=10, split="0" * 64)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = build(spec)
            for name, buffer in network.named_buffers():
                if name.endswith("running_mean"):
                    buffer.normal_(std=0.1)
        return network.eval()

    return make


@pytest.fixture(scope="session")
def onnx_file(segmenter: Callable[[int], Segmenter], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of seed 0 as a finished file."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    network = segmenter(0)
    export_onnx(path, [network], ModelFacts.of([network.spec], DIGEST).to_metadata(), opset=18)
    return path


@pytest.fixture
def scene_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a scene of 72 x 100 px in the units the network knows, with a nodata corner; arguments spoil it."""

    def write(name: str = "town", *, crs: str = "EPSG:32748", pixel_m: float = 10.0, factor: float = 1.0,
              bands: tuple[str, ...] = BANDS, nodata: float | None = 0, **changes: Any) -> Path:
        rng = np.random.default_rng(3)
        image = 300 + 2500 * rng.random((9, 10, len(bands))).repeat(8, 0).repeat(10, 1)
        image[:10, :20] = 0
        if changes.get("empty"):
            image[:] = 0
        values = (image * factor).astype(np.float32 if factor != 1 else np.uint16)
        wkt = CRS.from_user_input(crs).to_wkt() if crs else ""
        grid = Grid(wkt, Affine(pixel_m, 0, 700_000, 0, -pixel_m, 9_310_000), *values.shape[:2])
        path = tmp_path / f"{name}.tif"
        raster_io.write(path, values, grid, bands, nodata=nodata)
        return path

    return write
