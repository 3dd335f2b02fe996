"""What a training of several members has reached: means, spreads, and every member's own numbers."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any


def overview(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of reports/train/metrics.json: one member's summary, or means and spreads; and every member's.

    Scores are means over the members that have them (None where none has); `spread` holds their sample standard
    deviations, and the same within each val fold (over seeds) and of the folds' means, where there are several of both.
    """
    names = [name for name in summaries[0] if name.startswith("val_") and name != "val_fold"]
    if len(summaries) == 1:
        own = {name: value for name, value in summaries[0].items() if name not in ("number", "seed", "val_fold")}
        return {**own, "members": list(summaries)}
    whole = {name: mean_of(s[name] for s in summaries) for name in names}
    pixels = {name: round(fmean(s["train_pixels"][name] for s in summaries)) for name in summaries[0]["train_pixels"]}
    return {**whole, **{name: round(fmean(s[name] for s in summaries), 1) for name in ("best_epoch", "epochs")},
            "train_pixels": pixels, "spread": {name: _spreads(summaries, name) for name in names},
            "members": list(summaries)}


def _spreads(summaries: Sequence[Mapping[str, Any]], name: str) -> dict[str, float | None]:
    """How far a score's values lie apart: of all members, of seeds of one fold (pooled), and of the folds' means."""
    folds = sorted({s["val_fold"] for s in summaries})
    by_fold = [[s[name] for s in summaries if s["val_fold"] == fold] for fold in folds]
    within = [spread_of(values) for values in by_fold]
    pooled = mean_of(None if spread is None else spread**2 for spread in within)
    return {"members": spread_of(s[name] for s in summaries),
            "seeds": None if pooled is None else pooled**0.5,
            "folds": spread_of(mean_of(values) for values in by_fold)}


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there; None without any."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def spread_of(values: Iterable[float | None]) -> float | None:
    """The sample standard deviation of the values that are there; None below two."""
    known = [value for value in values if value is not None]
    return stdev(known) if len(known) > 1 else None


def flat(found: Mapping[str, Any]) -> dict[str, float]:
    """Means and spreads by name, as a training's run shows them beside those of its members; {} for one member."""
    if len(found["members"]) == 1:
        return {}
    means = {name: value for name, value in found.items() if name.startswith("val_")}
    spreads = {f"{name}.sd_{kind}": value for name, kinds in found["spread"].items() for kind, value in kinds.items()}
    return {name: value for name, value in (means | spreads).items() if value is not None}
