"""How two results score: each with its interval, and on the same ground their paired difference.

The ground is the same where every block has the same true pixels of each class; then both are drawn by the same
resampled blocks (`pipeline.metrics.bootstrap`), as an ablation's variants are. Members may have other seeds and folds.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation.tally import NETWORK
from pipeline.experiments.comparison import Baseline, other_ground
from pipeline.experiments.results import Result, read_result
from pipeline.metrics.bootstrap import Estimate
from pipeline.params.evaluate import BootstrapParams

#: What scores are computed from: metrics and counts by block, and which blocks share their ground.
SCORED = {"metrics.json": "reports/evaluate/metrics.json", "confusions.parquet": "reports/evaluate/confusions.parquet",
          "certificate.json": "data/splits/certificate.json"}


@dataclass(frozen=True)
class ScorePair:
    """One score of A and B, and B minus A (None where they are not paired; NaN limits where no counts by block are)."""

    first: Estimate
    second: Estimate
    difference: Estimate | None


@dataclass(frozen=True)
class ScoreDifference:
    """Scores on val against the headline truth of each."""

    #: mcc, macro_iou, iou.<class>, objects.<class>.found_share ...
    scores: Mapping[str, ScorePair]
    #: Why the two are not paired; "" where they are.
    unpaired: str
    #: Coverage of the intervals.
    confidence: float
    blocks: int

    def to_json(self) -> dict[str, Any]:
        """As plain data, NaN as None."""
        return {"unpaired": self.unpaired, "confidence": self.confidence, "blocks": self.blocks,
                "scores": {name: {"first": _plain(pair.first), "second": _plain(pair.second),
                                  "difference": _plain(pair.difference)} for name, pair in self.scores.items()}}


def compare_scores(first: Mapping[str, Path], second: Mapping[str, Path], first_params: Mapping[str, Any],
                   second_params: Mapping[str, Any]) -> ScoreDifference:
    """Compare what evaluate left of two results.

    Args:
        first: A's metrics.json, confusions.parquet and certificate.json, wherever they lie.
        second: B's.
        first_params: A's params, whose resamples, confidence and seed draw the paired differences.
        second_params: B's, for its own intervals where the two are not paired.

    Raises:
        IntegrityError: a file is not what evaluate writes.
    """
    a, b = read_scored(first), read_scored(second)
    bootstrap = _bootstrap(first_params)
    baseline = Baseline(a, bootstrap, int(first_params["seed"]))
    why = other_ground(a, b, "A")
    names = _names(a)
    own = {name: found.value for name, found in baseline.alone(names).items()}
    if not why:
        compared = baseline.paired(b, [name for name in names if name in _names(b)])
        pairs = {name: ScorePair(own[name], value, difference) for name, (value, difference) in compared.items()}
        return ScoreDifference(pairs, "", bootstrap.confidence, len(a.network))
    names = [name for name in names if name in _names(b)]
    other = Baseline(b, _bootstrap(second_params), int(second_params["seed"])).alone(names)
    return ScoreDifference({name: ScorePair(own[name], other[name].value, None) for name in names}, why,
                           bootstrap.confidence, len(a.network))


def read_scored(files: Mapping[str, Path], method: str = NETWORK) -> Result:
    """Read what evaluate left of a result: the files of `SCORED` by their names, wherever they lie.

    Raises:
        IntegrityError: a file is not what evaluate writes, or has no counts of the method.
    """
    with tempfile.TemporaryDirectory(prefix="kumulus-scores-") as name:
        for file, path in files.items():
            (Path(name) / file).symlink_to(path.resolve())
        return read_result(Path(name), method)


def _bootstrap(params: Mapping[str, Any]) -> BootstrapParams:
    return BootstrapParams.model_validate(params["evaluate"]["bootstrap"])


def _names(result: Result) -> list[str]:
    objects = [f"objects.{name}.{score}" for name in result.metrics["objects"]
               for score in ("found_share", "precision")]
    return ["mcc", "macro_iou", *(f"iou.{name}" for name in result.classes), *objects]


def _plain(estimate: Estimate | None) -> dict[str, float | None] | None:
    return None if estimate is None else estimate.plain()
