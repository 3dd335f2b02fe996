"""`kumulus unseal`: score the sealed test part, and put the look on record before anyone sees a figure."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.digests import canonical_sha256, folder_sha256
from pipeline.evaluation.gating import gate_count
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
        The scores, and the line that was appended: time, digests of model, split and params, how many looks there
        have been with this one, and the network's headline scores (`with_tta`: with test-time augmentation, if that
        is scored) and gates (of evaluate.targets, if there are any). The network is all members averaged, as it is
        exported.

    Raises:
        SealError: the log cannot be kept, or another unsealing is under way.
        ModelError: the checkpoint was trained on another split.
        IntegrityError: there is no checkpoint or no split.
    """
    identity = {"model": folder_sha256(paths.checkpoint), "split": folder_sha256(paths.splits),
                "params": canonical_sha256(params.dump())}
    with unsealing(paths) as permit:
        scores = score_part(params, paths, "test", predictor, permit)
        methods = scores.metrics["truths"][scores.headline]
        entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **identity,
                 "look": permit.looks + 1, "truth": scores.headline, **_headline(methods["network"])}
        if "network_tta" in methods:
            entry["with_tta"] = _headline(methods["network_tta"])
        if count := gate_count(scores.metrics):
            entry["gates"] = count
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

