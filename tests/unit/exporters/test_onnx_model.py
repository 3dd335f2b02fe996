"""The ONNX file computes what torch does, at any size, and a file that disagrees is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from affine import Affine

from pipeline.errors import IntegrityError, ModelError
from pipeline.exporters import onnx_model
from pipeline.exporters.onnx_model import check_parity, export_onnx, parity_windows
from pipeline.geo.grid import Grid
from pipeline.inference.network import NetworkPredictor
from pipeline.inference.onnx_predictor import ModelFacts, OnnxPredictor
from pipeline.inference.sources import StorePixels
from pipeline.networks import file_size
from pipeline.networks.segmenter import Segmenter
from pipeline.params.train import TrainParams
from pipeline.types import FloatArray, Window

Make = Callable[[int], Segmenter]


class Pixels:
    """A source without a file: each value says its row and column."""

    bands = ("a", "b", "c", "d")

    def __init__(self, height: int, width: int) -> None:
        self.grid = Grid("", Affine.identity(), height, width)

    def read(self, window: Window) -> FloatArray:
        rows, cols = np.mgrid[: self.grid.height, : self.grid.width].astype(np.float32)
        return np.stack([(rows * 1000 + cols)[window.slices]] * 4)


def test_graph_is_named_free_in_size_and_says_nothing_of_its_source(onnx_file: Path) -> None:
    model = onnx.load(onnx_file)
    (image,), (probs,) = model.graph.input, model.graph.output
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (image, probs)]
    assert (image.name, probs.name, dims) == ("image", "probabilities", [["N", 4, "H", "W"], ["N", 3, "H", "W"]])
    assert image.type.tensor_type.elem_type == probs.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert not any(n.metadata_props or n.doc_string for n in model.graph.node)
    assert {p.key.split(".")[0] for p in model.metadata_props} == {"kumulus"}
    assert not any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
    assert [p.name for p in onnx_file.parent.iterdir()] == ["model.onnx"]
    data = onnx_file.read_bytes()
    here = str(Path(__file__).resolve().parents[3]).encode()
    assert not any(word in data for word in (here, b"segmenter.py", b"Traceback", b"site-packages", b"stack_trace"))


def test_equal_weights_equal_bytes(onnx_file: Path, segmenter: Make, tmp_path: Path) -> None:
    network = segmenter(0)
    metadata = ModelFacts.of([network.spec], "ab" * 32).to_metadata()
    export_onnx(tmp_path / "again.onnx", [network], metadata, opset=18)
    assert (tmp_path / "again.onnx").read_bytes() == onnx_file.read_bytes()


def test_parity_with_torch_at_other_sizes_and_with_nan(onnx_file: Path, segmenter: Make) -> None:
    images = [1000 + 500 * np.random.default_rng(i).normal(size=shape).astype(np.float32)
              for i, shape in enumerate([(1, 4, 32, 32), (3, 4, 40, 8), (2, 4, 64, 104)])]
    images[2][:, :, 5:30, :50] = np.nan
    images[2][0] = np.nan
    assert check_parity(onnx_file, [segmenter(0)], images, 1e-4) < 1e-4


def test_nan_counts_as_the_train_mean(onnx_file: Path, segmenter: Make) -> None:
    image = np.full((1, 4, 16, 16), 1500, dtype=np.float32)
    image[:, :, 3:9] = np.nan
    filled = np.where(np.isnan(image), np.array(segmenter(0).spec.mean, np.float32)[:, None, None], image)
    predictor = OnnxPredictor(onnx_file)
    np.testing.assert_allclose(predictor.probabilities(image), predictor.probabilities(filled), atol=1e-6)
    np.testing.assert_allclose(predictor.probabilities(image).sum(axis=1), 1, atol=1e-5)


def test_members_are_averaged(segmenter: Make, tmp_path: Path) -> None:
    pair = [segmenter(1), segmenter(2)]
    facts = ModelFacts.of([m.spec for m in pair], "")
    export_onnx(tmp_path / "pair.onnx", pair, facts.to_metadata(), opset=18)
    image = 1000 + 500 * np.random.default_rng(0).normal(size=(1, 4, 16, 24)).astype(np.float32)
    with torch.inference_mode():
        mean = np.mean([m.decode(m(torch.from_numpy(image))).numpy() for m in pair], axis=0)
    np.testing.assert_allclose(OnnxPredictor(tmp_path / "pair.onnx").probabilities(image), mean, atol=1e-5)
    assert (facts.low[3], facts.high[3]) == (101, 5002)  # what any member has seen


def test_a_file_that_disagrees_is_refused(onnx_file: Path, segmenter: Make) -> None:
    image = 1000 + 500 * np.random.default_rng(0).normal(size=(1, 4, 16, 16)).astype(np.float32)
    with pytest.raises(IntegrityError, match=r"parity_tolerance=0\.0001: probabilities differ by"):
        check_parity(onnx_file, [segmenter(1)], [image], 1e-4)


def test_parity_windows_have_a_hole_other_sizes_and_real_pixels() -> None:
    source: StorePixels = Pixels(100, 90)  # type: ignore[assignment]
    patch, pair, oblong = parity_windows(source, size_px=32, multiple=8)
    assert (patch.shape, pair.shape, oblong.shape) == ((1, 4, 32, 32), (2, 4, 32, 32), (1, 4, 40, 16))
    assert patch[0, 0, 0, 0] == 50045
    assert pair[0, 0, 0, 0] == 0
    assert np.isnan(pair[1, :, :10, 8:16]).all()
    assert not np.isnan(pair[1, :, 10:]).any()
    small = parity_windows(Pixels(20, 90), size_px=32, multiple=8)[0]  # type: ignore[arg-type]
    assert np.isnan(small[0, 0]).all(axis=1).tolist() == [False] * 20 + [True] * 12


def test_the_graph_turns_and_flips_as_the_predictor_does(segmenter: Make, tmp_path: Path) -> None:
    pair = [segmenter(1), segmenter(2)]
    facts = ModelFacts.of([m.spec for m in pair], "", tta="d4")
    path = tmp_path / "turned.onnx"
    export_onnx(path, pair, facts.to_metadata(), 18, True)
    image = 1000 + 500 * np.random.default_rng(0).normal(size=(2, 4, 16, 24)).astype(np.float32)
    image[0, :, 3:9, :5] = np.nan
    predictor = OnnxPredictor(path)
    turned = NetworkPredictor(pair, tta=True).probabilities(image)
    np.testing.assert_allclose(predictor.probabilities(image), turned, atol=1e-5)
    assert check_parity(path, pair, [image], 1e-4, True) < 1e-4
    assert np.abs(turned - NetworkPredictor(pair).probabilities(image)).max() > 1e-3
    assert predictor.facts.tta == "d4"
    assert ModelFacts.of([pair[0].spec], "").to_metadata().get("kumulus.tta") is None


def test_a_graph_that_averages_views_wrongly_is_found_out(
    segmenter: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is held against what evaluate and the maps use, not against the module it was exported from."""
    monkeypatch.setattr(onnx_model, "VIEWS", ((False, ()), (False, (-1,)), (True, ()), (True, (-2,))))
    export_onnx(tmp_path / "half.onnx", [segmenter(1)], ModelFacts.of([segmenter(1).spec], "", tta="d4").to_metadata(),
                18, True)
    image = 1000 + 500 * np.random.default_rng(0).normal(size=(1, 4, 16, 24)).astype(np.float32)
    with pytest.raises(IntegrityError, match="probabilities differ by"):
        check_parity(tmp_path / "half.onnx", [segmenter(1)], [image], 1e-4, True)


def test_members_that_do_not_fit_into_one_file_are_refused_before_anything_is_exported(
    segmenter: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = file_size.onnx_bytes(segmenter(1))
    monkeypatch.setattr(file_size, "LIMIT", 2 * size)
    assert file_size.too_large([segmenter(1)] * 2) == ""
    with pytest.raises(ModelError, match=r"one ONNX file must stay below 2 GiB: 3 members would .* at most 2 members"):
        export_onnx(tmp_path / "three.onnx", [segmenter(1)] * 3, {}, 18)
    params = TrainParams(folds=3)
    with pytest.warns(UserWarning, match="what is trained here cannot be exported: one ONNX file"):
        file_size.warn_of_size(segmenter(1), params)
    file_size.warn_of_size(segmenter(1), TrainParams(seeds=(1, 2)))
