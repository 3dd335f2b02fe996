"""Figures of a scored part: overview of each scene, worst blocks, confusion, network beside baselines.

Only what was in sight when the part was scored is drawn: with val, the labels and the reference of test
ground are blank, so that nobody reads the sealed result off a picture.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pipeline.evaluation.choice import note
from pipeline.evaluation.part import PartScores, SceneView
from pipeline.evaluation.truths import Ground
from pipeline.reporting.figure_style import (
    ACCENT,
    INK,
    MUTED,
    RIGHT,
    UNKNOWN,
    WRONG,
    class_image,
    color_legend,
    grid_of_axes,
    new_figure,
    readable,
    rgb,
    save,
    show,
    thinning,
)
from pipeline.reporting.gate_figure import draw_gates
from pipeline.reporting.member_figures import draw_spread
from pipeline.reporting.score_tables import draw_class_table, draw_objects
from pipeline.types import IGNORE_INDEX, BoolArray

#: Blocks in the figure of the worst ones; the least share of the median block's pixels a block must count.
_WORST = 6
_LEAST_SHARE = 0.2
_MARGIN_PX = 6
_MAX_CLASS_PANELS = 8


def draw_all(scores: PartScores, folder: Path) -> None:
    """Write every figure of a part into `folder` as PNG."""
    for view in scores.views:
        draw_overview(scores, view, folder / f"overview_{view.ground.scene.id}.png")
    draw_worst_blocks(scores, folder / "worst_blocks.png")
    draw_confusion(scores, folder / "confusion.png")
    colors = dict(zip(scores.classes, scores.colors, strict=True))
    against = f"{_part_name(scores)} against {_truth_name(scores.headline)}"
    draw_class_table(scores.metrics, scores.headline, colors, f"Scores by class, {against}{_choice(scores)}",
                     folder / "class_table.png")
    if any(scores.metrics["objects"].values()):
        draw_objects(scores.metrics, against[0].upper() + against[1:] + _choice(scores), folder / "objects.png")
    for method, judged in scores.metrics.get("gates", {}).items():
        name = "gates.png" if method == "network" else f"gates_{method}.png"
        draw_gates(judged, f"Gates of the {readable(method)}, {against}{_choice(scores)}", folder / name)
    if scores.headline in scores.metrics.get("spread", {}):
        draw_spread(scores.metrics, scores.headline, scores.part, folder / "spread.png")
    for truth in scores.metrics["truths"]:
        draw_scores(scores, truth, folder / f"scores_{truth}.png")


def _legend(scores: PartScores) -> dict[str, str]:
    named = {readable(name): color for name, color in zip(scores.classes, scores.colors, strict=True)}
    return {**named, "unknown" if scores.part == "test" else "unknown or sealed": UNKNOWN}


def draw_overview(scores: PartScores, view: SceneView, path: Path) -> None:
    """RGB, labels, reference (if there is one), prediction, and errors with the scored part outlined."""
    ground, step = view.ground, thinning(view.predicted_HW.shape)
    cut, predicted = ground.cut(step, step), view.predicted_HW[step, step]
    scored, valid = cut.scored_HW, ground.scene.valid[step, step] == 1
    headline = scores.headline if scores.headline in cut.truths else "refined"
    image = rgb(ground.scene.image[step, step], ground.scene.bands, valid)
    panels = [("Scene, bands stretched 2 to 98 %", image),
              ("Refined labels", class_image(cut.truths["refined"], scores.colors))]
    if "reference" in cut.truths:
        panels.append(("Reference", class_image(cut.truths["reference"], scores.colors)))
    out_of_fold = scores.metrics["out_of_fold"]
    panels.append(("Out-of-fold prediction" if out_of_fold else "Prediction", class_image(predicted, scores.colors)))
    truth = cut.truths[headline]
    counted = scored & (truth != IGNORE_INDEX)
    state = np.where(counted, (truth != predicted).astype(np.uint8), IGNORE_INDEX).astype(np.uint8)
    panels.append((f"Errors against {_truth_name(headline)}" + ("" if out_of_fold else f" in {scores.part}"),
                   class_image(state, [RIGHT, WRONG])))
    cols = 2 if len(panels) == 4 else 3
    rows = -(-len(panels) // cols)
    aspect = valid.shape[0] / valid.shape[1]
    figure = new_figure(4.0 * cols, 4.0 * aspect * rows + 0.5 * rows + 0.4)
    axes = [a for row in grid_of_axes(figure, rows, cols) for a in row]
    for ax, (title, image) in zip(axes, panels, strict=False):
        show(ax, image, title)
        _outline(ax, scored, "white" if ax is axes[0] else INK)
    for ax in axes[len(panels):]:
        ax.set_axis_off()
    color_legend(figure, {**_legend(scores), "right": RIGHT, "wrong": WRONG})
    outlined = "scored ground" if scores.metrics["out_of_fold"] else f"the {scores.part} part"
    figure.suptitle(f"{ground.scene.id}: {outlined} is outlined", x=0.01, ha="left")
    save(figure, path)


def _outline(axes: Axes, mask_HW: BoolArray, color: str) -> None:
    if mask_HW.any() and not mask_HW.all():
        axes.contour(mask_HW.astype(np.float32), levels=[0.5], colors=[color], linewidths=0.8)


def _part_name(scores: PartScores) -> str:
    return "all folds, out of fold," if scores.metrics["out_of_fold"] else f"{scores.part} part"


def _choice(scores: PartScores) -> str:
    """A line of a title that says what val chose of the network, where it did."""
    said = note(scores.metrics.get("val_chose"))
    return f"\n{said}" if said else ""


def _truth_name(truth: str) -> str:
    return {"refined": "refined labels", "unrefined": "unrefined labels"}.get(truth, truth)


def worst_blocks(confusions: pd.DataFrame, truth: str, most: int = _WORST) -> pd.DataFrame:
    """Blocks with the lowest accuracy of the network, worst first: columns scene, block, accuracy, pixels.

    Blocks with few counted pixels, next to the median block, do not compete.
    """
    rows = confusions[(confusions["truth"] == truth) & (confusions["method"] == "network")]
    rows = rows.assign(hits=rows["count"].where(rows["true"] == rows["predicted"], 0))
    blocks = rows.groupby(["scene", "block"], as_index=False)[["count", "hits"]].sum()
    blocks = blocks[blocks["count"] >= _LEAST_SHARE * blocks["count"].median()]
    blocks = blocks.assign(accuracy=blocks["hits"] / blocks["count"], pixels=blocks["count"])
    chosen = blocks.sort_values(["accuracy", "block"]).head(most)
    return chosen[["scene", "block", "accuracy", "pixels"]].reset_index(drop=True)


def draw_worst_blocks(scores: PartScores, path: Path) -> None:
    """Scene, truth and prediction of the worst blocks, one column a block."""
    views = {view.ground.scene.id: view for view in scores.views}
    chosen = worst_blocks(scores.confusions, scores.headline)
    figure = new_figure(2.1 * max(len(chosen), 2), 7.2)
    axes = grid_of_axes(figure, 3, max(len(chosen), 2))
    for col, block in enumerate(chosen.itertuples()):
        view = views[str(block.scene)]
        ground = view.ground
        crop = _crop(ground, int(block.block))
        cut, valid = ground.cut(*crop), ground.scene.valid[crop] == 1
        inside = np.asarray(cut.block_HW == block.block)
        images = [rgb(ground.scene.image[crop], ground.scene.bands, valid),
                  class_image(cut.truths[scores.headline], scores.colors),
                  class_image(view.predicted_HW[crop], scores.colors)]
        titles = [f"{block.scene}, block {block.block}\n{block.accuracy:.0%} of {block.pixels:,} px right",
                  _truth_name(scores.headline).capitalize(), "Prediction"]
        for row, (image, title) in enumerate(zip(images, titles, strict=True)):
            show(axes[row][col], image, title)
            _outline(axes[row][col], inside, "white" if row == 0 else INK)
    for unused in range(len(chosen), max(len(chosen), 2)):
        for line in axes:
            line[unused].set_axis_off()
    color_legend(figure, _legend(scores))
    of = "all folds (out of fold)" if scores.metrics["out_of_fold"] else f"the {scores.part} part"
    figure.suptitle(f"Blocks of {of} with the lowest accuracy", x=0.01, ha="left")
    save(figure, path)


def _crop(ground: Ground, block: int) -> tuple[slice, slice]:
    """Rows and columns of a block with a margin; at the scene's edge the window moves inside."""
    block_HW, rows, cols = ground.split.block_map(ground.scene.id), set[int](), set[int]()
    for band in ground.bands():
        found = np.argwhere(block_HW[band.slices] == block)
        if len(found):
            rows |= {band.row + int(found[0, 0]), band.row + int(found[-1, 0])}
            cols |= {int(found[:, 1].min()), int(found[:, 1].max())}
    height, width = block_HW.shape
    return _with_margin(min(rows), max(rows), height), _with_margin(min(cols), max(cols), width)


def _with_margin(first: int, last: int, length: int) -> slice:
    size = min(last - first + 1 + 2 * _MARGIN_PX, length)
    start = min(max(0, first - _MARGIN_PX), length - size)
    return slice(start, start + size)


def draw_confusion(scores: PartScores, path: Path) -> None:
    """The network's confusion matrix against the headline truth, each row normalised by its true pixels."""
    rows = scores.confusions
    rows = rows[(rows["truth"] == scores.headline) & (rows["method"] == "network")]
    k = len(scores.classes)
    counts = np.zeros((k, k), dtype=np.int64)
    np.add.at(counts, (rows["true"].to_numpy(), rows["predicted"].to_numpy()), rows["count"].to_numpy())
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    side = 2.2 + 0.75 * k
    figure = new_figure(side + 1.2, side)
    ax = grid_of_axes(figure, 1, 1)[0][0]
    ax.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    for i in range(k):
        for j in range(k):
            text, color = f"{shares[i, j]:.1%}", "white" if shares[i, j] > 0.55 else INK
            ax.text(j, i, "" if total[i, 0] == 0 else text, ha="center", va="center", color=color, fontsize=8)
    names = [readable(name) for name in scores.classes]
    ax.set_xticks(range(k), names, rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(k), [f"{name}\n{int(n):,} px" for name, n in zip(names, total[:, 0], strict=True)])
    ax.set_xlabel("Predicted")
    ax.set_ylabel(f"True ({_truth_name(scores.headline)})")
    kind = "out of fold" if scores.metrics["out_of_fold"] else f"{scores.part} part"
    ax.set_title(f"Share of each true class, {kind}{_choice(scores)}", loc="left")
    save(figure, path)


def draw_scores(scores: PartScores, truth: str, path: Path) -> None:
    """Bars of all methods with intervals; below, the paired differences of the network to the baselines.

    Single members are in the figure of the spread.
    """
    table = scores.metrics["truths"][truth]
    methods = {name: value for name, value in table.items()
               if isinstance(value, Mapping) and not name.startswith("network_member")}
    shown = [("mcc", "\nMCC"), ("macro_iou", "\nMacro IoU")]
    shown += [(f"iou.{name}", f"IoU\n{readable(name)}") for name in scores.classes[:_MAX_CLASS_PANELS]]
    prefix = "difference_to_"
    paired = {key.removeprefix(prefix): value for key, value in methods["network"].items()
              if key.startswith(prefix) and key != f"{prefix}best_baseline"}
    figure = new_figure(1.4 + 1.75 * len(shown), 0.9 + 0.42 * (len(methods) + len(paired) + 2))
    axes = grid_of_axes(figure, 2 if paired else 1, len(shown))
    for col, (score, title) in enumerate(shown):
        values = [_at(methods[name], score) for name in methods]
        colors = [ACCENT if name.startswith("network") else MUTED for name in methods]
        _bars(axes[0][col], [readable(n) for n in methods], values, colors, labelled=col == 0)
        axes[0][col].set_title(title, loc="left")
        if paired:
            differences = [_at(value, score) for value in paired.values()]
            _differences(axes[1][col], [readable(n) for n in paired], differences, labelled=col == 0)
    axes[0][0].set_ylabel("Score")
    if paired:
        axes[1][0].set_ylabel("Network minus")
    title = f"{_part_name(scores)} against {_truth_name(truth)}: value and interval over resampled blocks"
    title += _choice(scores)
    figure.suptitle(title, x=0.01, ha="left")
    save(figure, path)


def _at(tree: Mapping[str, Any], name: str) -> Mapping[str, float | None]:
    for part in name.split("."):
        tree = tree[part]
    return tree


def _whiskers(axes: Axes, place: int, value: Mapping[str, float | None]) -> None:
    if value["low"] is not None and value["high"] is not None:
        axes.plot([value["low"], value["high"]], [place, place], color=INK, linewidth=1.2,
                  solid_capstyle="butt")


def _bars(axes: Axes, names: list[str], values: list[Mapping[str, float | None]], colors: list[str],
          labelled: bool) -> None:
    for i, (value, color) in enumerate(zip(values, colors, strict=True)):
        point = value["value"]
        if point is None:
            axes.text(0.02, i, "undefined", va="center", fontsize=7, color=MUTED)
            continue
        axes.barh(i, point, color=color, height=0.62)
        _whiskers(axes, i, value)
        axes.text(max(value["high"] or point, point, 0.0) + 0.02, i, f"{point:.2f}{'†' if 'defined' in value else ''}",
                  va="center", fontsize=7)
    if any("defined" in value for value in values):
        axes.set_xlabel("† not in every resample", fontsize=7)
    axes.set_xlim(min(0.0, *(v["low"] or 0.0 for v in values), *(v["value"] or 0.0 for v in values)), 1.18)
    axes.set_xticks([0, 0.5, 1])
    _rows(axes, names, labelled)


def _differences(axes: Axes, names: list[str], values: list[Mapping[str, float | None]],
                 labelled: bool) -> None:
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for i, value in enumerate(values):
        if value["value"] is None:
            axes.text(0, i, " undefined", va="center", fontsize=7, color=MUTED)
            continue
        _whiskers(axes, i, value)
        axes.plot(value["value"], i, "o", color=ACCENT, markersize=5)
    reach = max([abs(v[key] or 0.0) for v in values for key in ("value", "low", "high")] + [0.02]) * 1.15
    axes.set_xlim(-reach, reach)
    axes.locator_params(axis="x", nbins=4)
    _rows(axes, names, labelled)


def _rows(axes: Axes, names: list[str], labelled: bool) -> None:
    axes.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
