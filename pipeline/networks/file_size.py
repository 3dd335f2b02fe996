"""How large the one ONNX file of some members becomes: protobuf, which it is written in, ends at 2 GiB."""

import warnings
from collections.abc import Sequence

from pipeline.networks.segmenter import Segmenter
from pipeline.params.train import TrainParams

#: Bytes that one protobuf message can have (protobuf's documentation, "Proto Limits").
LIMIT = 2**31 - 1

#: What a member's graph may take beside its weights (EfficientNet-B7's file is 2 MB smaller, its norms being folded).
_GRAPH = 2**20


def onnx_bytes(segmenter: Segmenter) -> int:
    """About how many bytes a member takes in model.onnx: its weights without the boundary head, and its graph."""
    state = segmenter.state_dict()
    sizes = [tensor.nbytes for name, tensor in state.items() if not name.startswith("boundary.")]
    return _GRAPH + int(sum(sizes))


def too_large(members: Sequence[Segmenter]) -> str:
    """Why these members do not fit into one file and what to do; "" where they do."""
    return _complaint(sum(onnx_bytes(member) for member in members), len(members))


def warn_of_size(segmenter: Segmenter, params: TrainParams) -> None:
    """Warn, before hours are spent, where all members of a training will not fit into one file."""
    members = params.folds * max(1, len(params.seeds))
    if complaint := _complaint(members * onnx_bytes(segmenter), members):
        warnings.warn(f"what is trained here cannot be exported: {complaint}", stacklevel=2)


def _complaint(size: int, members: int) -> str:
    if size <= LIMIT:
        return ""
    fit = LIMIT // (size // members)
    remedy = f"train at most {fit} members (train.seeds, train.folds)" if fit else "choose a smaller train.network"
    return (f"one ONNX file must stay below 2 GiB: {members} member{'s' * (members > 1)} would take "
            f"{size / 2**30:.2f} GiB; {remedy}" + (", or a smaller train.network" if fit else ""))
