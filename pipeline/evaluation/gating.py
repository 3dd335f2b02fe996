"""The gates of a scored part: evaluate.targets judged on metrics.json, its key `gates`.

gates.<method>.<target> = {rule, value, low, high, held, reason} (and defined, where the score is not in every
resample), for the network and, where it is scored, the network with test-time augmentation (which of the two leaves the
project says export.tta), against the headline truth. A gate that is missed fails nothing here: `kumulus promote` asks
for them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.evaluation.tally import NETWORK, TTA
from pipeline.metrics.bootstrap import Estimate
from pipeline.metrics.gates import Gate, judge_all
from pipeline.params.targets import Target
from pipeline.types import RunLog


def gates(metrics: Mapping[str, Any], targets: Iterable[Target], confidence: float,
          method: str = NETWORK) -> tuple[Gate, ...]:
    """Judge targets on the scores of a method.

    Args:
        metrics: metrics.json.
        targets: in the order of evaluate.targets.
        confidence: coverage of the intervals.
        method: network or network_tta, which must have been scored.
    """
    return judge_all(targets, lambda target: _estimate(metrics, target, method), confidence)


def gate_table(metrics: Mapping[str, Any], targets: tuple[Target, ...], confidence: float) -> dict[str, Any]:
    """What metrics.json has under `gates`."""
    scored = [method for method in (NETWORK, TTA) if method in metrics["truths"][metrics["headline"]]]
    return {method: {gate.target.name: _plain(gate) for gate in gates(metrics, targets, confidence, method)}
            for method in scored}


def gate_count(metrics: Mapping[str, Any]) -> dict[str, int]:
    """How many gates the network holds, of how many; {} without targets."""
    judged = metrics.get("gates", {}).get(NETWORK, {})
    return {"held": sum(gate["held"] for gate in judged.values()), "of": len(judged)} if judged else {}


def gate_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The gates in words, first how many hold, then those that are missed; [] without targets."""
    lines = []
    for method, judged in metrics.get("gates", {}).items():
        missed = [f"{name} {gate['rule']} is missed: {gate['reason']}" for name, gate in judged.items()
                  if not gate["held"]]
        which = " with test-time augmentation" if method == TTA else ""
        lines += [f"{len(judged) - len(missed)} of {len(judged)} gates hold{which}", *missed]
    return lines


def log_gates(log: RunLog, metrics: Mapping[str, Any]) -> None:
    """Tags `gate.<target>` (held or missed) and metrics of the same name (1 or 0); `gate.network_tta.<target>` too."""
    judged = {f"gate.{name}" if method == NETWORK else f"gate.{method}.{name}": gate["held"]
              for method, table in metrics.get("gates", {}).items() for name, gate in table.items()}
    if judged:
        log.tags({name: "held" if held else "missed" for name, held in judged.items()})
        log.metrics({name: float(held) for name, held in judged.items()})


def _estimate(metrics: Mapping[str, Any], target: Target, method: str) -> Estimate:
    """The score; NaN where it is not defined or (a class that the split merged into another) not there."""
    if target.group == "objects":
        counts = metrics["objects"].get(target.label, {}).get(method, {})
        found = (counts if target.score == "found_share" else counts.get("intervals", {})).get(target.score, {})
    else:
        found = metrics["truths"][metrics["headline"]][method][target.score]
        found = found.get(target.label, {}) if target.label else found
    return Estimate.of(found)


def _plain(gate: Gate) -> dict[str, Any]:
    return {"rule": gate.target.rule, "held": gate.held, "reason": gate.reason, **gate.estimate.plain()}
