"""What the model card says of the members: which there are, what they started from, how far they lie apart."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.networks.spec import ModelSpec

Members = Mapping[int, ModelSpec]


def origin(members: Members) -> str:
    """`trained from scratch`, or what the weights were before."""
    network = next(iter(members.values())).network
    if starts := sorted({spec.warm_start for spec in members.values() if spec.warm_start}):
        which = "weights of sha256 " + ", ".join(f"`{sha256}`" for sha256 in starts)
        scratch = "" if all(spec.warm_start for spec in members.values()) else "partly "
        return f"{scratch}fine-tuned from {which}"
    if network.weights == "imagenet":
        return "trained from an encoder with the library's ImageNet weights"
    if network.weights:
        return f"trained from encoder weights of sha256 `{network.weights_sha256}`"
    return "trained from scratch"


def members_section(members: Members) -> str:
    """A table of the members, where there are several, or one that says more than the card's first lines."""
    told = [spec for spec in members.values() if spec.logit_bias or spec.temperature != 1]
    if len(members) == 1 and not told:
        return ""
    rows = [
        [
            str(number),
            _said(spec.seed),
            _said(spec.val_fold),
            f"{spec.temperature:.4g}" if spec.temperature != 1 else "not fitted",
            ", ".join(f"{name} {bias:+.3g}" for name, bias in zip(spec.classes, spec.logit_bias, strict=True))
            if spec.logit_bias
            else "none",
            f"`{spec.warm_start[:12]}`" if spec.warm_start else "random weights" if not spec.network.weights
            else "encoder weights",
        ]
        for number, spec in members.items()
    ]
    header = ["member", "seed", "fold held out", "temperature", "prior adjustment of logits", "started from"]
    return markdown_table(header, rows) + (
        "\n\nProbabilities are the softmax of (logits + adjustment) / temperature"
        + (", averaged over the members." if len(members) > 1 else ".")
    )


def _said(number: int) -> str:
    return str(number) if number >= 0 else "the project's"


def confidence(members: Members, tta: bool = False) -> str:
    """What the confidence map is worth; `tta`: it is of probabilities averaged over the eight views of a tile."""
    fitted = sum(spec.temperature != 1 for spec in members.values())
    text = "The confidence map is the network's largest class probability in percent. "
    if not fitted:
        return text + "It is not calibrated."
    views = (
        " The temperature was fitted without the average over eight flips and turns, which is part of the model; that "
        "average, too, was not calibrated again."
        if tta
        else ""
    )
    if len(members) == 1:
        return text + "Its temperature was fitted on val; other ground may call for another." + views
    return text + (
        f"The temperature of {fitted} of {len(members)} members was fitted on what each held out; their average, which "
        "tends to be less sure than each of them, was not calibrated again."
    ) + views


def spread_section(apart: Mapping[str, Any], scores: Mapping[str, str]) -> str:
    """How far members, seeds and folds lie apart in the overall scores."""
    rows = []
    for over, name in (("over_seeds", "seeds"), ("over_folds", "folds"), ("over_members", "members")):
        for score, label in scores.items():
            if over in apart and apart[over][score]["mean"] is not None:
                values = apart[over][score]
                rows.append([name, label, str(values["n"]), *(_number(values[k]) for k in ("mean", "sd", "least",
                                                                                              "largest")),
                             _interval(values)])
    header = ["over", "score", "n", "mean", "standard deviation", "least", "largest", "t-interval of the mean"]
    return (
        "Spread of single trainings; n is small, so intervals over seeds are wide, and folds, which share most of "
        "their train ground, get none:\n\n" + markdown_table(header, rows)
    )


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _interval(values: Mapping[str, float | None]) -> str:
    return "" if values["low"] is None else f"{values['low']:.3f} to {values['high']:.3f}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
