"""model_card.md: what the model is, what made it, how good it is, where it ends and how to use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation.choice import sentence
from pipeline.exporters.member_text import confidence, markdown_table, members_section, origin, spread_section
from pipeline.inference.onnx_predictor import ModelFacts
from pipeline.networks.spec import ModelSpec
from pipeline.params.network import NetworkParams
from pipeline.paths import staged_file

#: Scores shown, by their names in metrics.json; the last group has one value a class.
_SCORES = {"mcc": "MCC", "kappa": "Cohen's kappa", "accuracy": "accuracy", "macro_iou": "macro IoU"}
_CLASS_SCORES = {"iou": "IoU", "f1": "F1", "precision": "precision", "recall": "recall"}
_METHODS = {
    "majority": "majority class",
    "index_rules": "index rules",
    "boosting": "boosting on bands",
    "boosting_focal": "boosting on bands and focal features",
}
_TRUTHS = {
    "reference": "independent reference",
    "refined": "refined labels",
    "unrefined": "labels as they came",
}


@dataclass(frozen=True)
class CardFacts:
    """Everything the card says, as the stages wrote it."""

    model: ModelFacts
    #: By number.
    members: Mapping[int, ModelSpec]
    #: data/raw/catalog.json, data/splits/certificate.json and reports/evaluate/metrics.json.
    catalog: Mapping[str, Any]
    certificate: Mapping[str, Any]
    metrics: Mapping[str, Any]
    #: Scene -> class -> share of the map.
    shares: Mapping[str, Mapping[str, float]]
    parity: float
    registered_name: str

    @property
    def network(self) -> NetworkParams:
        """What every member is built as."""
        return next(iter(self.members.values())).network


def write_card(path: Path, facts: CardFacts) -> None:
    """Write the card."""
    with staged_file(path) as partial:
        partial.write_text(card(facts), encoding="utf-8")


def card(facts: CardFacts) -> str:
    """The card as Markdown; equal facts give equal text."""
    model = facts.model
    of = f"{len(facts.members)} members, averaged" if len(facts.members) > 1 else "one member"
    if model.tta == "d4":
        of += ", each averaged over the eight flips and turns of its input"
    section = members_section(facts.members)
    several = [f"## Members\n\n{section}"] if section else []
    parts = [
        f"# {facts.registered_name}",
        f"A semantic segmentation network that gives every pixel of a satellite scene one of "
        f"{len(model.classes)} classes: {facts.network.architecture} with encoder {facts.network.encoder}, "
        f"{of}, {origin(facts.members)} by Kumulus. "
        "`model.onnx` holds normalization and activation: channels go in, class probabilities come out.",
        f"Provenance: sha256 `{model.provenance}` of `provenance.json`, which names every data file, code "
        "file, parameter and library version; `model.onnx`, the maps and the polygons carry it too.",
        *several,
        "## Classes\n\n" + _classes(facts),
        "## Input\n\n" + _input(model),
        "## Data\n\n" + _data(facts.catalog),
        "## Split\n\n" + _split(facts.certificate, _holders(facts)),
        "## Scores\n\n" + _scores(facts.metrics, model.tta == "d4"),
        "## Limits\n\n" + _limits(facts),
        "## Use\n\n" + _use(model),
    ]
    return "\n\n".join(parts) + "\n"


def _classes(facts: CardFacts) -> str:
    scenes = sorted(facts.shares)
    rows = [
        [str(i), name, color, *(f"{facts.shares[s].get(name, 0):.1%}" for s in scenes)]
        for i, (name, color) in enumerate(zip(facts.model.classes, facts.model.colors, strict=True))
    ]
    return (
        markdown_table(["id", "class", "colour", *(f"share of map {s}" for s in scenes)], rows)
        + "\n\nNo data is 255."
    )


def _input(model: ModelFacts) -> str:
    seen = ["least value seen", "largest value seen"]
    names = "bands" if model.recipe.is_plain else "channels"
    text = (
        f"float32, shape (N, {len(model.channels)}, H, W), {names} in this order, bands in the units of the training "
        f"scenes (reflectance x {model.reflectance_scale:g}); NaN marks invalid pixels. H and W are "
        f"multiples of {model.size_multiple}. Pixels were about {model.pixel_size_m:.3g} m on the ground."
    )
    bands = markdown_table(["band", *seen], _ranges(model.bands, model.band_low, model.band_high))
    if model.recipe.is_plain:
        return f"{text}\n\n{bands}"
    channels = markdown_table(["channel", *seen], _ranges(model.channels, model.low, model.high))
    return f"{text}\n\n{channels}\n\nChannels are computed from the bands of a scene{_formulas(model)}:\n\n{bands}"


def _ranges(names: Sequence[str], low: Sequence[float], high: Sequence[float]) -> list[list[str]]:
    return [
        [name, f"{least:g}", f"{largest:g}"] for name, least, largest in zip(names, low, high, strict=True)
    ]


def _formulas(model: ModelFacts) -> str:
    """What a reader needs to compute index and texture channels."""
    parts = []
    if indices := model.recipe.indices:
        parts.append(f"{', '.join(indices)} of reflectance by spyndex's formulas")
    if texture := model.recipe.texture:
        parts.append(
            f"glcm_ from the grey-level co-occurrence of reflectance in {texture.levels} levels from "
            f"{texture.low:g} to {texture.high:g}, in windows of {texture.window_px} px at a distance of "
            f"{texture.distance_px} px, symmetric, each property averaged over four angles"
        )
    return f" ({'; '.join(parts)})" if parts else ""


def _data(catalog: Mapping[str, Any]) -> str:
    rows = [
        [
            f"scene {s['id']}",
            str(s.get("time") or "not stated"),
            str(s.get("licence") or "not stated"),
            f"`{s['sha256']}`",
        ]
        for s in catalog["scenes"]
    ]
    for name in ("labels", "reference"):
        if entry := catalog.get(name):
            rows.append(
                [
                    name,
                    str(entry.get("time") or "not stated"),
                    str(entry.get("licence") or "not stated"),
                    f"`{entry.get('sha256', 'not stated')}`",
                ]
            )
    meaning = {"exhaustive": "ground outside them is background", "sparse": "ground outside them is unknown"}
    coverage = str(catalog["coverage"])
    return (
        markdown_table(["what", "time", "licence", "sha256"], rows)
        + f"\n\nThe labels are {coverage}: {meaning[coverage]}."
    )


def _holders(facts: CardFacts) -> dict[int, list[int]]:
    """Fold -> the members that held it out, where members held out different folds; else {}."""
    own = int(facts.certificate["val_fold"])
    found: dict[int, list[int]] = {}
    for number, spec in facts.members.items():
        found.setdefault(spec.val_fold if spec.val_fold >= 0 else own, []).append(number)
    return dict(sorted(found.items())) if len(found) > 1 or own not in found else {}


def _split(certificate: Mapping[str, Any], holders: Mapping[int, Sequence[int]] | None = None) -> str:
    """The split's own parts, or, for members that held out other folds (fold -> members), its folds."""
    text = (
        f"Randomized blocks of {certificate['block_size_m']:g} m in {certificate['folds']} folds and "
        "a sealed test part"
    )
    if buffer_m := certificate["buffer_m"]:
        text += f"; no train label lies within {buffer_m:g} m of held-out ground"
    text += "."
    rows = [
        [name, str(part.get("blocks", "")), str(part.get("labelled", ""))]
        for name, part in certificate.get("parts", {}).items()
    ]
    if rows and not holders:
        text += "\n\n" + markdown_table(["part", "blocks", "labelled pixels"], rows)
    if holders:
        text += " Each fold is the val part of the members that held it out; these trained on the others."
        by_fold = certificate.get("by_fold", {})
        rows = [
            [
                "test, sealed" if fold == "test" else fold,
                "all members" if fold == "test" else ", ".join(map(str, holders.get(int(fold), ()))) or "none",
                str(counts.get("blocks", "")),
                str(counts.get("labelled", "")),
                ", ".join(counts.get("too_little_of", ())) or "nothing",
            ]
            for fold, counts in by_fold.items()
        ]
        header = ["fold", "held out by member", "blocks", "labelled pixels", "too little of"]
        text += "\n\n" + markdown_table(header, rows)
    return text


_ONE_FOLD = (
    "On the val part. {choice} 95 % limits (or as `evaluate.bootstrap` says) from resampled blocks. The test part is "
    "sealed (`kumulus unseal`)."
)
_OUT_OF_FOLD = (
    "**These scores are out of fold: they are the members', not those of the ensemble in `model.onnx`.** Every block "
    "outside the test part was predicted by the members that held it out, never by one that trained on it. {choice} "
    "The ensemble averages all members, so "
    "every such block was known to most of them, and its maps say nothing of its quality there. The ensemble is scored "
    "on the sealed test part alone, when `kumulus unseal` is run; `unseal.log.jsonl` has every look. Baselines are out "
    "of fold too. 95 % limits (or as `evaluate.bootstrap` says) from resampled blocks."
)


def _scores(metrics: Mapping[str, Any], tta: bool = False) -> str:
    """Tables of every truth: overall scores of each method, then the model's scores by class."""
    chosen = metrics.get("val_chose")
    if metrics.get("out_of_fold"):
        sections = [_OUT_OF_FOLD.format(choice=sentence(chosen, "the fold that a member held out"))]
    else:
        sections = [_ONE_FOLD.format(choice=sentence(chosen, "the val part"))]
    model = "its members, out of fold" if metrics.get("out_of_fold") else "this model"
    shown, other = ("network_tta", "network") if tta else ("network", "network_tta")
    names = {shown: model, other: f"{model}, {'without' if tta else 'with'} flips and turns", **_METHODS}
    for truth in (t for t in _TRUTHS if t in metrics.get("truths", {})):
        scored = metrics["truths"][truth]
        sections.append(f"### Against the {_TRUTHS[truth]}")
        methods = [m for m in names if m in scored]
        sections.append(
            markdown_table(
                ["method", *_SCORES.values()],
                [[names[m], *(_estimate(scored[m].get(s)) for s in _SCORES)] for m in methods],
            )
        )
        best = scored["network"].get("difference_to_best_baseline", {})
        if best:
            rows = [
                [
                    label,
                    _METHODS.get(best[s].get("baseline"), str(best[s].get("baseline"))),
                    _estimate(best[s]),
                ]
                for s, label in _SCORES.items()
                if s in best
            ]
            sections.append(
                "Paired differences to the best baseline of each score:\n\n"
                + markdown_table(["score", "best baseline", f"{names['network']} minus baseline"], rows)
            )
        if apart := metrics.get("spread", {}).get(truth):
            sections.append(spread_section(apart, _SCORES))
        classes = list(scored[shown].get("iou", {}))
        sections.append(
            markdown_table(
                ["class", *_CLASS_SCORES.values()],
                [
                    [c, *(_estimate(scored[shown].get(s, {}).get(c)) for s in _CLASS_SCORES)]
                    for c in classes
                ],
            )
        )
    return "\n\n".join(sections)


def _estimate(value: Any) -> str:
    """`0.81 (0.77 to 0.85)`; "undefined" for a score that is 0/0."""
    if not isinstance(value, Mapping) or value.get("value") is None:
        return "undefined"
    text = f"{value['value']:.3f}"
    if value.get("low") is not None and value.get("high") is not None:
        text += f" ({value['low']:.3f} to {value['high']:.3f})"
    if "defined" in value:
        text += f", defined in {100 * value['defined']:.3g} % of the resamples"
    return text


def _limits(facts: CardFacts) -> str:
    lines = [
        "Made for ground like that of the training scenes: another region, season, sensor or atmospheric "
        "correction needs its own check against truth.",
        "`kumulus predict` refuses scenes of other bands, units or pixel sizes; onnxruntime does not.",
        confidence(facts.members, facts.model.tta == "d4"),
        f"Probabilities in onnxruntime differ from the network's by at most {facts.parity:.1e} (measured).",
    ]
    if unsupported := facts.certificate.get("unsupported"):
        lines.append(f"Too rare to be supported in every part of the split: {', '.join(unsupported)}.")
    for fold, names in facts.metrics.get("too_thin", {}).items():
        lines.append(f"Fold {fold}, which is scored, holds too little of {', '.join(names)} to score them there.")
    if merged := facts.certificate.get("merged"):
        pairs = merged.items() if isinstance(merged, Mapping) else ()
        lines += [f"{rare} was too rare and is part of {other}." for rare, other in sorted(pairs)]
    return "\n".join(f"- {line}" for line in lines)


def _use(model: ModelFacts) -> str:
    side = 8 * model.size_multiple
    own = "" if model.recipe.is_plain else ", computing the channels from its bands"
    return f"""`kumulus predict SCENE.tif --model model.onnx` maps a whole scene with all checks{own}. In Python:

```python
import json

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
about = session.get_modelmeta().custom_metadata_map  # channels, classes, colours, value range, provenance
classes = json.loads(about["kumulus.classes"])
image = np.full((1, {len(model.channels)}, {side}, {side}), np.nan, dtype=np.float32)
# ... fill image with {", ".join(model.channels)}
probabilities = session.run(["probabilities"], {{"image": image}})[0]  # (1, {len(model.classes)}, H, W)
class_map = probabilities[0].argmax(axis=0)
```"""
