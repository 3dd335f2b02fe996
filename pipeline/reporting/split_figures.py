"""Figures and numbers of a split: one page of all that a person would look at, and its maps and bars larger."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from pipeline.paths import write_json
from pipeline.reporting.figure_style import INK, MUTED, new_figure, save
from pipeline.reporting.split_panels import PART_COLORS, correlation_panel, distance_panel, score_panel
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.split import GROUND_HELD_BACK, Part, Split
from pipeline.types import FloatArray

_WHOLE_COLOR = "#444444"
_LONGEST_SIDE_PX = 1000
_PARTS: tuple[Part, ...] = ("train", "val", "test")


def write_report(folder: Path, store: SceneStore, split: Split, certificate: Mapping[str, Any],
                 class_colors: Mapping[str, str]) -> None:
    """Write metrics.json, overview.png, prevalence.png and one blocks_<scene>.png a scene."""
    write_json(folder / "metrics.json", _metrics(certificate))
    overview_figure(folder / "overview.png", store, split, certificate, class_colors)
    for scene in store:
        block_figure(folder / f"blocks_{scene.id}.png", scene, split)
    classes = len(certificate["classes"])
    figure = new_figure(max(6.0, 1.6 * classes + 2), 4.5)
    prevalence_panel(figure.subplots(), certificate, class_colors)
    save(figure, folder / "prevalence.png")


def _metrics(certificate: Mapping[str, Any]) -> dict[str, Any]:
    whole = certificate["whole"]["prevalence"]
    kept = ("attempts_used", "block_size_m", "train_share_lost_to_buffer", "held_out_pixels_with_train_label",
            "held_out_pixels_seen", "least_distance_m")
    parts = {name: {"blocks": part["blocks"], "labelled": part["labelled"], "prevalence": part["prevalence"],
                    "prevalence_shift": round(max(abs(part["prevalence"][c] - whole[c]) for c in whole), 6)}
             for name, part in certificate["parts"].items()}
    duplicates = {name: certificate["near_duplicates"][name] for name in ("same", "near")}
    return {key: certificate[key] for key in kept} | {
        "parts": parts, "near_duplicates": duplicates, "wasserstein_m": certificate["separation"]["wasserstein_m"],
        "correlation_range_m": (certificate["correlation"] or {}).get("range_m")}


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


def overview_figure(path: Path, store: SceneStore, split: Split, certificate: Mapping[str, Any],
                    class_colors: Mapping[str, str]) -> None:
    """One page: the blocks of (the first of) the scenes, prevalence, correlation, distances, scores, and the facts."""
    figure = new_figure(14, 10.5)
    axes = figure.subplot_mosaic([["blocks", "blocks", "prevalence", "prevalence"],
                                  ["blocks", "blocks", "correlation", "correlation"],
                                  ["facts", "facts", "distances", "scores"]], height_ratios=[1, 1, 1.05])
    first = store.scenes[0]
    handles = block_panel(axes["blocks"], first, split)
    axes["blocks"].legend(handles=handles, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False)
    if len(store.scenes) > 1:
        axes["blocks"].set_title(f"{first.id} (first of {len(store.scenes)} scenes): blocks by part")
    prevalence_panel(axes["prevalence"], certificate, class_colors)
    correlation_panel(axes["correlation"], certificate)
    distance_panel(axes["distances"], certificate)
    score_panel(axes["scores"], certificate)
    axes["facts"].axis("off")
    axes["facts"].text(0.02, 0.98, "\n".join(_facts(certificate)), va="top", family="monospace", fontsize=8,
                       color=INK)
    save(figure, path)


def _facts(certificate: Mapping[str, Any]) -> list[str]:
    """What the certificate states, a line each."""
    least, twins = certificate["least_distance_m"], certificate["near_duplicates"]
    lines = [f"blocks of {certificate['block_size_m']:g} m, buffer {certificate['buffer_m']:g} m, "
             f"{certificate['places']} places, {certificate['folds']} folds (val: {certificate['val_fold']})",
             f"drawn in attempt {certificate['attempts_used']} with seed {certificate['seed']}",
             f"held-out pixels seen by training: {certificate['held_out_pixels_seen']}; "
             f"with a train label: {certificate['held_out_pixels_with_train_label']}",
             f"labelled train pixels lost to the buffer: {certificate['train_pixels_lost_to_buffer']:,} "
             f"({100 * certificate['train_share_lost_to_buffer']:.1f} %)",
             "least distance from train: " + ", ".join(
                 f"{name.removeprefix('train_to_').replace('_', '-')} {'far' if m is None else f'{m:g} m'}"
                 for name, m in least.items()),
             f"windows alike in train and held-out: {twins['same']} same, {twins['near']} nearly "
             f"(of {twins['held_out_windows']} held-out, {twins['train_windows']} train, {twins['window_px']} px)",
             "", f"{'support':<24}{'train':>16}{'val':>16}{'test':>16}"]
    for name in certificate["classes"]:
        parts = [certificate["parts"][part] for part in _PARTS]
        cells = [f"{part['labelled_by_class'][name]:,} / {part['objects'][name]:,}" for part in parts]
        flag = " *" if name in certificate["unsupported"] else ""
        lines.append(f"{(name[:21] + flag):<24}" + "".join(f"{cell:>16}" for cell in cells))
    lines.append(f"(labelled pixels / objects; asked for: {certificate['min_pixels']} / {certificate['min_objects']}"
                 f"{'; * unsupported' if certificate['unsupported'] else ''})")
    return lines


def block_figure(path: Path, scene: Scene, split: Split) -> None:
    """A map of the blocks by part over a quicklook of the scene."""
    height, width = scene.grid.shape
    figure = new_figure(9, 9 * height / width + 1)
    handles = block_panel(figure.subplots(), scene, split)
    figure.legend(handles=handles, ncols=4, loc="outside lower center", frameon=False)
    save(figure, path)


def block_panel(axes: Axes, scene: Scene, split: Split) -> list[Patch]:
    """The blocks by part over a quicklook of the scene, train ground without label in grey; returns the legend."""
    stride = max(1, -(-max(scene.grid.shape) // _LONGEST_SIDE_PX))
    image = quicklook(scene, stride)
    fold, block, ground = (np.asarray(array[::stride, ::stride]) for array in (
        split.fold_map(scene.id), split.block_map(scene.id), split.ground_map(scene.id)))
    edge = np.zeros(block.shape, dtype=bool)
    edge[1:] |= block[1:] != block[:-1]
    edge[:, 1:] |= block[:, 1:] != block[:, :-1]
    valid = scene.valid[::stride, ::stride] > 0
    handles = []
    for part in _PARTS:
        mask = split.mask(fold, part)
        color, share = np.array(to_rgb(PART_COLORS[part]), dtype=np.float32), 0.25 if part == "train" else 0.5
        image[mask & valid] = (1 - share) * image[mask & valid] + share * color
        handles.append(Patch(color=PART_COLORS[part], label=f"{part}: {np.unique(block[mask]).size} blocks"))
    if split.buffer_m > 0:
        held_back = (ground == GROUND_HELD_BACK) & valid
        image[held_back] = 0.4 * image[held_back] + 0.6 * np.array(to_rgb(MUTED), dtype=np.float32)
        handles.append(Patch(color=MUTED, label=f"train without label: within {split.buffer_m:g} m"))
    image[edge] = 0.35 * image[edge] + 0.65
    height, width = scene.grid.shape
    axes.imshow(image, extent=(0, width, height, 0), interpolation="nearest")
    axes.set(title=f"{scene.id}: blocks by part", xlabel="column (px)", ylabel="row (px)")
    return handles


def prevalence_panel(axes: Axes, certificate: Mapping[str, Any], class_colors: Mapping[str, str]) -> None:
    """Bars: each class's share of the labelled pixels by part, beside the whole; dots: each fold."""
    classes = certificate["classes"]
    groups = {"whole": certificate["whole"], **certificate["parts"]}
    width = 0.8 / len(groups)
    for i, (name, group) in enumerate(groups.items()):
        shares = [100 * group["prevalence"][c] for c in classes]
        bars = axes.bar(np.arange(len(classes)) + (i - 1.5) * width, shares, width * 0.92,
                        color=PART_COLORS.get(name, _WHOLE_COLOR), label=f"{name}: {group['labelled']:,} px")
        axes.bar_label(bars, [f"{s:.2g}" for s in shares], fontsize=7, padding=1)
    folds = [fold for name, fold in certificate["by_fold"].items() if name != "test" and fold["labelled"]]
    for c, name in enumerate(classes):
        axes.plot([c + 0.46] * len(folds), [100 * f["prevalence"][name] for f in folds], ".", color=INK, markersize=3,
                  label="each fold" if c == 0 else None)
    _scale(axes, [g["prevalence"][c] for g in groups.values() for c in classes])
    flagged = set(certificate["unsupported"])
    names = [f"{c} *" if c in flagged else c for c in classes]
    axes.set_xticks(range(len(classes)), names, rotation=20, ha="right")
    for tick, name in zip(axes.get_xticklabels(), classes, strict=True):
        tick.set_bbox({"facecolor": class_colors[name], "alpha": 0.25, "edgecolor": "none", "pad": 2})
    axes.set(ylabel="share of labelled pixels (%)",
             title="Prevalence by part" + (" (* unsupported)" if flagged else ""))
    axes.legend(frameon=False, fontsize=7, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.25))


def _scale(axes: Axes, shares: list[float]) -> None:
    """Logarithmic where a class is rarer than a hundredth of the commonest, or its bars could not be seen."""
    present = [s for s in shares if s > 0]
    if present and min(present) < max(present) / 100:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylim(100 * min(present) / 2, 200)
    axes.margins(y=0.12)
