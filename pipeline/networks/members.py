"""Store and load trained members: weights.safetensors beside model.json and history.csv, equal bytes for equals."""

from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline.errors import ModelError
from pipeline.networks.segmenter import Segmenter, build
from pipeline.networks.spec import ModelSpec
from pipeline.paths import write_json


def save_member(folder: Path, segmenter: Segmenter, history_csv: str) -> None:
    """Write one member into `folder` (made if need be); no metadata, time or path enters the files."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in segmenter.state_dict().items()}
    save_file(state, folder / "weights.safetensors")
    write_json(folder / "model.json", segmenter.spec.model_dump(mode="json"))
    (folder / "history.csv").write_text(history_csv, encoding="utf-8")


def load_member(folder: Path) -> Segmenter:
    """Rebuild a member from its folder alone, in evaluation mode on the CPU.

    Raises:
        ModelError: a file is missing, or weights and model.json do not fit together.
    """
    try:
        spec = ModelSpec.model_validate_json((folder / "model.json").read_text(encoding="utf-8"))
        segmenter = build(spec)
        state = load_file(folder / "weights.safetensors")
        # Members of before unused stages were dropped still hold them.
        dropped = tuple(f"{name}." for name in segmenter.dropped)
        segmenter.load_state_dict({name: value for name, value in state.items() if not name.startswith(dropped)})
    except FileNotFoundError as error:
        raise ModelError(f"model member {folder} must hold model.json and weights.safetensors: "
                         f"{Path(str(error.filename)).name} not found; run `dvc repro train`") from error
    except (ValidationError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"model member {folder} must have weights that fit its model.json: "
                         f"{' '.join(str(error).split())[:300]}") from error
    return segmenter.eval()


def member_folders(checkpoint: Path) -> list[Path]:
    """The members of a checkpoint, by number.

    Raises:
        ModelError: there is none.
    """
    folders = sorted((checkpoint / "members").glob("[0-9]*"), key=lambda p: int(p.name))
    if not folders:
        raise ModelError(f"checkpoint {checkpoint} must hold members/0: got none; run `dvc repro train`")
    return folders
