"""One ONNX file of a trained ensemble: channels in, probabilities out, normalization inside.

Equal weights give equal bytes: names the exporter draws, source locations and stack traces are taken out.

Shape legend: N images, C bands, K classes, H rows, W columns.
"""

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from pipeline.errors import IntegrityError, ModelError
from pipeline.inference.network import NetworkPredictor
from pipeline.inference.onnx_predictor import INPUT, OUTPUT, OnnxPredictor
from pipeline.inference.tiles import PixelSource
from pipeline.inference.tta import VIEWS
from pipeline.networks.file_size import too_large
from pipeline.networks.segmenter import Segmenter
from pipeline.types import FloatArray, Window


class DeployedModel(nn.Module):
    """All members with their heads: channels NCHW (NaN = invalid) to mean probabilities NKHW."""

    def __init__(self, segmenters: Sequence[Segmenter], tta: bool = False) -> None:
        """`tta` averages each member over the eight flips and turns of an image (pipeline.inference.tta)."""
        super().__init__()
        self.members = nn.ModuleList(segmenters)
        self.tta = tta

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities NKHW, averaged over the members."""
        total: Tensor | None = None
        for member in self.members:
            assert isinstance(member, Segmenter)
            probs = _over_views(member, image) if self.tta else member.decode(member(image))
            total = probs if total is None else total + probs
        assert total is not None
        return total / len(self.members)


def _over_views(member: Segmenter, image: Tensor) -> Tensor:
    """Mean probabilities over VIEWS. Views of one shape go through the network as one batch: a smaller graph."""
    total: Tensor | None = None
    for transposed in (False, True):
        flips = [axes for swapped, axes in VIEWS if swapped == transposed]
        turned = image.transpose(-2, -1) if transposed else image
        seen = torch.stack([turned.flip(axes) if axes else turned for axes in flips])
        probs = member.decode(member(seen.flatten(0, 1))).unflatten(0, (len(flips), -1))
        for i, axes in enumerate(flips):
            upright = probs[i].flip(axes) if axes else probs[i]
            back = upright.transpose(-2, -1) if transposed else upright
            total = back if total is None else total + back
    assert total is not None
    return total / len(VIEWS)


def export_onnx(
    path: Path, segmenters: Sequence[Segmenter], metadata: Mapping[str, str], opset: int, tta: bool = False
) -> None:
    """Write and check the file: dynamic N, H and W, one file without external data.

    Raises:
        ModelError: the network cannot be expressed in ONNX, or its members do not fit into one file.
    """
    if complaint := too_large(segmenters):
        raise ModelError(complaint)
    spec = segmenters[0].spec
    model = DeployedModel(segmenters, tta).cpu().eval()
    # Two images of unequal sides, all above 1, so that no size is taken for a constant or for another.
    example = torch.zeros(2, len(spec.channels), 4 * spec.size_multiple, 6 * spec.size_multiple)
    dynamic = {
        "image": {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    }
    try:
        with warnings.catch_warnings(), torch.no_grad(), _quiet():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=dynamic,
                opset_version=opset,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, torch._dynamo.exc.TorchDynamoException) as error:
        raise ModelError(
            f"network {spec.network.architecture} with encoder {spec.network.encoder} must be expressible in "
            f"ONNX opset {opset}: {' '.join(str(error).split())[:300]}; choose another"
        ) from error
    assert program is not None
    proto = program.model_proto
    _clean(proto)
    _set_shapes(proto, channels=len(spec.channels), classes=len(spec.classes))
    proto.producer_name, proto.doc_string = "kumulus", ""
    for key, value in sorted(metadata.items()):
        proto.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


class _quiet:
    """Silences torch's exporter, which logs at warning level about things that do not concern a user."""

    def __enter__(self) -> None:
        self._level = logging.getLogger("torch.onnx").level
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("torch.onnx").setLevel(self._level)


def _clean(proto: onnx.ModelProto) -> None:
    """Remove from which source lines the graph came, and inferred shapes with drawn names."""
    del proto.metadata_props[:]
    for graph in _graphs(proto.graph):
        del graph.metadata_props[:]
        del graph.value_info[:]
        graph.doc_string = ""
        for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
            del item.metadata_props[:]
            item.doc_string = ""
    for function in proto.functions:
        del function.metadata_props[:]
        del function.value_info[:]
        function.doc_string = ""
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""


def _graphs(graph: onnx.GraphProto) -> Iterable[onnx.GraphProto]:
    """A graph and those in its nodes' attributes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _graphs(inner)


def _set_shapes(proto: onnx.ModelProto, channels: int, classes: int) -> None:
    for value, wanted in ((proto.graph.input[0], channels), (proto.graph.output[0], classes)):
        dims = value.type.tensor_type.shape.dim
        fixed = dims[1].dim_value
        if fixed != wanted or any(dims[i].dim_value for i in (0, 2, 3)):
            raise ModelError(
                f"exported graph must have free N, H and W and {wanted} channels in {value.name!r}: got "
                f"{[d.dim_value or d.dim_param for d in dims]}; choose another train.network"
            )
        for i, name in ((0, "N"), (2, "H"), (3, "W")):
            dims[i].dim_param = name


def parity_windows(source: PixelSource, size_px: int, multiple: int) -> list[FloatArray]:
    """Three inputs NCHW from a scene: a patch, two patches of which one has a NaN hole, and an oblong.

    Sizes are multiples of `multiple`; pieces that a small scene cannot fill are invalid outside it.
    """
    oblong = (size_px + multiple, max(multiple, size_px // multiple // 2 * multiple))
    height, width = source.grid.shape
    patch = _read(source, height // 2, width // 2, size_px, size_px)
    corner = _read(source, 0, 0, size_px, size_px)
    holed = patch.copy()
    holed[:, : size_px // 3, size_px // 4 : size_px // 2] = np.nan
    piece = _read(source, height // 3, width // 3, *oblong)
    return [patch[None], np.stack([corner, holed]), piece[None]]


def _read(source: PixelSource, row: int, col: int, height: int, width: int) -> FloatArray:
    rows, cols = source.grid.shape
    row, col = max(0, min(row, rows - height)), max(0, min(col, cols - width))
    inside = Window(row, col, min(height, rows - row), min(width, cols - col))
    image = np.full((len(source.bands), height, width), np.nan, dtype=np.float32)
    image[:, : inside.height, : inside.width] = source.read(inside)
    return image


def check_parity(
    path: Path, segmenters: Sequence[Segmenter], images: Iterable[FloatArray], tolerance: float, tta: bool = False
) -> float:
    """The largest difference between the file in onnxruntime and the network as evaluate and the maps apply it.

    That predictor has its own decoding, averaging over members and test-time augmentation (`tta`), apart from those
    that were exported, so a mistake in the exported module shows.

    Raises:
        IntegrityError: it exceeds `tolerance`, or a probability is not finite.
    """
    network, predictor = NetworkPredictor(segmenters, tta=tta), OnnxPredictor(path)
    worst = 0.0
    for image_NCHW in images:
        expected = network.probabilities(image_NCHW)
        actual = predictor.probabilities(image_NCHW)
        if actual.shape != expected.shape or not np.isfinite(actual).all():
            raise IntegrityError(
                f"{path.name} must give finite probabilities of shape {expected.shape}: got shape "
                f"{actual.shape}, finite {bool(np.isfinite(actual).all())}, for input {image_NCHW.shape}"
            )
        worst = max(worst, float(np.abs(actual - expected).max()))
    if worst > tolerance:
        raise IntegrityError(
            f"{path.name} must agree with the network within export.parity_tolerance={tolerance:g}: "
            f"probabilities differ by {worst:.3g}; raise the tolerance or another export.opset may help"
        )
    return worst
