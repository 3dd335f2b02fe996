"""Figures and numbers of a split: where the parts lie, and how prevalent each class is in each."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.paths import write_json
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.split import Split
from pipeline.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours of the parts (Okabe & Ito, told apart by colour-blind readers).
PART_COLORS = {"train": "#0072B2", "val": "#E69F00", "test": "#CC3311"}
_WHOLE_COLOR = "#444444"
_LONGEST_SIDE_PX = 1000


def write_report(folder: Path, store: SceneStore, split: Split, certificate: Mapping[str, Any],
                 class_colors: Mapping[str, str]) -> None:
    """Write metrics.json, prevalence.png and one blocks_<scene>.png a scene."""
    write_json(folder / "metrics.json", _metrics(certificate))
    prevalence_figure(folder / "prevalence.png", certificate, class_colors)
    for scene in store:
        block_figure(folder / f"blocks_{scene.id}.png", scene, split)


def _metrics(certificate: Mapping[str, Any]) -> dict[str, Any]:
    whole = certificate["whole"]["prevalence"]
    kept = ("attempts_used", "train_share_lost_to_buffer", "held_out_pixels_with_train_label",
            "least_distance_m")
    parts = {name: {"blocks": part["blocks"], "labelled": part["labelled"], "prevalence": part["prevalence"],
                    "prevalence_shift": round(max(abs(part["prevalence"][c] - whole[c]) for c in whole), 6)}
             for name, part in certificate["parts"].items()}
    return {key: certificate[key] for key in kept} | {"parts": parts}


def quicklook(scene: Scene, stride: int) -> FloatArray:
    """Every `stride`-th pixel as RGB from 0 to 1 (2nd to 98th percentile), white where invalid.

    Grey, from the first band, where bands are not named red, green and blue.
    """
    names = ("red", "green", "blue")
    bands = [scene.bands.index(n) for n in names] if set(names) <= set(scene.bands) else [0, 0, 0]
    image = np.asarray(scene.image[::stride, ::stride][..., bands], dtype=np.float32)
    valid = scene.valid[::stride, ::stride] > 0
    for c in range(3):
        seen = image[..., c][valid & np.isfinite(image[..., c])]
        low, high = np.percentile(seen, (2, 98)) if seen.size else (0.0, 1.0)
        image[..., c] = np.clip((image[..., c] - low) / max(high - low, 1e-9), 0, 1)
    image[~valid | ~np.isfinite(image).all(axis=-1)] = 1
    return image


def block_figure(path: Path, scene: Scene, split: Split) -> None:
    """A map of the blocks by part over a quicklook of the scene."""
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    stride = max(1, -(-max(scene.grid.shape) // _LONGEST_SIDE_PX))
    image = quicklook(scene, stride)
    fold = np.asarray(split.fold_map(scene.id)[::stride, ::stride])
    block = np.asarray(split.block_map(scene.id)[::stride, ::stride])
    edge = np.zeros(block.shape, dtype=bool)
    edge[1:] |= block[1:] != block[:-1]
    edge[:, 1:] |= block[:, 1:] != block[:, :-1]
    valid = scene.valid[::stride, ::stride] > 0
    handles = []
    for part in ("train", "val", "test"):
        mask = split.mask(fold, part)
        color, share = np.array(to_rgb(PART_COLORS[part]), dtype=np.float32), 0.25 if part == "train" else 0.5
        image[mask & valid] = (1 - share) * image[mask & valid] + share * color
        handles.append(Patch(color=PART_COLORS[part], label=f"{part}: {np.unique(block[mask]).size} blocks"))
    image[edge] = 0.35 * image[edge] + 0.65
    height, width = scene.grid.shape
    figure = Figure(figsize=(9, 9 * height / width + 1), layout="constrained")
    axes = figure.subplots()
    axes.imshow(image, extent=(0, width, height, 0), interpolation="nearest")
    axes.set(title=f"{scene.id}: blocks by part", xlabel="column (px)", ylabel="row (px)")
    figure.legend(handles=handles, ncols=3, loc="outside lower center", frameon=False)
    figure.savefig(path, dpi=120)


def prevalence_figure(path: Path, certificate: Mapping[str, Any], class_colors: Mapping[str, str]) -> None:
    """Bars: each class's share of the labelled pixels by part, beside the whole."""
    from matplotlib.figure import Figure

    classes = certificate["classes"]
    groups = {"whole": certificate["whole"], **certificate["parts"]}
    figure = Figure(figsize=(max(6.0, 1.6 * len(classes) + 2), 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(groups)
    for i, (name, group) in enumerate(groups.items()):
        shares = [100 * group["prevalence"][c] for c in classes]
        bars = axes.bar(np.arange(len(classes)) + (i - 1.5) * width, shares, width * 0.92,
                        color=PART_COLORS.get(name, _WHOLE_COLOR), label=f"{name}: {group['labelled']:,} px")
        axes.bar_label(bars, [f"{s:.2g}" for s in shares], fontsize=7, padding=1)
    _scale(axes, [g["prevalence"][c] for g in groups.values() for c in classes])
    flagged = set(certificate["unsupported"])
    names = [f"{c} *" if c in flagged else c for c in classes]
    axes.set_xticks(range(len(classes)), names, rotation=20, ha="right")
    for tick, name in zip(axes.get_xticklabels(), classes, strict=True):
        tick.set_bbox({"facecolor": class_colors[name], "alpha": 0.25, "edgecolor": "none", "pad": 2})
    axes.set(ylabel="share of labelled pixels (%)",
             title="Prevalence by part" + (" (* unsupported)" if flagged else ""))
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    figure.savefig(path, dpi=120)


def _scale(axes: "Axes", shares: list[float]) -> None:
    """Logarithmic where a class is rarer than a hundredth of the commonest, or its bars could not be seen."""
    present = [s for s in shares if s > 0]
    if present and min(present) < max(present) / 100:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylim(100 * min(present) / 2, 200)
    axes.margins(y=0.12)
