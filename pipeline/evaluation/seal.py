"""`kumulus unseal`: score the sealed test part, and put the look on record before anyone sees a figure."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.evaluation.part import PartScores, score_part, write_tables
from pipeline.evaluation.permit import unsealing
from pipeline.params.load import Params
from pipeline.paths import Paths, staged_folder
from pipeline.types import Predictor


def unseal(params: Params, paths: Paths, predictor: Predictor | None = None,
           draw: Callable[[PartScores, Path], None] | None = None) -> tuple[PartScores, dict[str, Any]]:
    """Score the test part once, append the look to the committed log, and write reports/unseal.

    Args:
        params: the validated params.yaml.
        paths: where the artifacts lie.
        predictor: replaces the checkpoint's network (tests).
        draw: draws figures into the report's folder.

    Returns:
        The scores, and the line that was appended: time, digests of model, split and params, how many looks
            there
        have been with this one, and the network's headline scores.

    Raises:
        SealError: the log cannot be kept, or another unsealing is under way.
        ModelError: there is no checkpoint.
    """
    identity = {"model": _folder_sha256(paths.checkpoint), "split": _folder_sha256(paths.splits),
                "params": _sha256(params.dump())}
    with unsealing(paths) as permit:
        scores = score_part(params, paths, "test", predictor, permit)
        network = scores.metrics["truths"][scores.headline]["network"]
        entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **identity,
                 "look": permit.looks + 1, "truth": scores.headline, **_headline(network)}
        permit.record(entry)
    with staged_folder(paths.report("unseal")) as folder:
        write_tables(scores, folder)
        if draw is not None:
            draw(scores, folder)
    return scores, entry


def _headline(network: Mapping[str, Any]) -> dict[str, Any]:
    """Point values and intervals of the scores that go on record."""
    chosen = {name: network[name] for name in ("mcc", "macro_iou", "accuracy")}
    chosen |= {f"iou.{label}": value for label, value in network["iou"].items()}
    return {"scores": {name: value["value"] for name, value in chosen.items()},
            "intervals": {name: [value["low"], value["high"]] for name, value in chosen.items()}}


def _folder_sha256(folder: Path) -> str:
    """One digest of a folder's files by relative path and sha256, as pipeline.tracking.digests gives it."""
    if not folder.is_dir():
        raise ModelError(f"{folder} must be there before the test part is unsealed: not found; "
                         "run `dvc repro train`")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return _sha256({p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
                    for p in files})


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
