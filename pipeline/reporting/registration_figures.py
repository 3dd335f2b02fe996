"""How far labels lie off the image: numbers ready for params.yaml, and an arrow for each tile.

Shape legend: H rows, W columns.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from pipeline.params.spatial_split import RegistrationParams
from pipeline.paths import write_json
from pipeline.reporting.figure_style import ACCENT, INK, WRONG, new_figure, rgb, save, show, thinning
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.registration import Offset, SceneOffset

#: Longest arrow as a share of a tile's side.
_ARROW = 0.45


def write_registration(folder: Path, store: SceneStore, offsets: Sequence[SceneOffset],
                       params: RegistrationParams) -> None:
    """Write registration.json and registration_<scene>.png, and the scenes' offsets into metrics.json beside them.

    Writes nothing where nothing was measured (`registration.reach_px` 0).
    """
    if not offsets:
        return
    scenes = {found.scene_id: _scene_numbers(found, scene) for found, scene in zip(offsets, store, strict=True)}
    shift = {name: {"east_m": numbers["east_m"], "north_m": numbers["north_m"]}
             for name, numbers in scenes.items() if numbers["significant"]}
    write_json(folder / "registration.json", {"reach_px": params.reach_px, "tile_px": params.tile_px,
                                              "refine_labels.shift": shift, "scenes": scenes})
    metrics = folder / "metrics.json"
    before = json.loads(metrics.read_text(encoding="utf-8")) if metrics.exists() else {}
    kept = ("east_m", "north_m", "east_error_m", "north_error_m", "significant")
    lines = {name: {key: numbers[key] for key in kept} for name, numbers in scenes.items() if numbers["determined"]}
    write_json(metrics, before | {"registration": lines})
    for found, scene in zip(offsets, store, strict=True):
        registration_figure(folder / f"registration_{scene.id}.png", scene, found, params.tile_px)


def _scene_numbers(found: SceneOffset, scene: Scene) -> dict[str, Any]:
    spread = found.spread_m
    return {
        **_numbers(found.offset), "significant": found.offset.is_significant,
        "pixel_m": [round(side, 4) for side in scene.grid.ground_pixel_m],
        "tiles_determined": len(found.determined), "tile_error_factor": round(found.error_factor, 3),
        "tile_spread_m": {"east": round(spread[0], 3), "north": round(spread[1], 3)} if spread else None,
        "tiles": [{"row": tile.window.row, "col": tile.window.col, "pixels": tile.pixels, **_numbers(tile.offset)}
                  for tile in found.tiles],
    }


def _numbers(offset: Offset) -> dict[str, Any]:
    if offset.undetermined:
        return {"determined": False, "reason": offset.undetermined, **dict.fromkeys(
            ("east_m", "north_m", "east_error_m", "north_error_m", "right_px", "down_px"))}
    return {"determined": True, "east_m": round(offset.east_m, 3), "north_m": round(offset.north_m, 3),
            "east_error_m": round(offset.east_error_m, 3), "north_error_m": round(offset.north_error_m, 3),
            "right_px": round(offset.right_px, 4), "down_px": round(offset.down_px, 4)}


def registration_figure(path: Path, scene: Scene, found: SceneOffset, tile_px: int) -> None:
    """Arrows by which each tile's labels are to be moved, with ellipses of two standard errors, on the pale scene."""
    every = thinning(scene.grid.shape)
    valid = scene.valid[every, every] > 0
    picture = 0.5 + 0.5 * rgb(scene.image[every, every], scene.bands, valid)
    height, width = scene.grid.shape
    figure = new_figure(8, 8 * min(max(height / width, 0.4), 2.0) + 0.8)
    axes = figure.subplots()
    show(axes, picture, _title(found))
    scale = valid.shape[1] / width
    lengths = [np.hypot(tile.offset.right_px, tile.offset.down_px) for tile in found.determined]
    enlarged = _ARROW * tile_px / max(1.0, *lengths) if lengths else 1.0
    for tile in found.tiles:
        center = ((tile.window.col + tile.window.width / 2) * scale, (tile.window.row + tile.window.height / 2) * scale)
        if tile.offset.undetermined:
            axes.plot(*center, marker="x", color=INK, markersize=6)
        else:
            _arrow(axes, center, tile.offset, enlarged * scale)
    axes.set_xlabel(f"arrows {enlarged:.0f} times the offset, with two standard errors; x: undetermined", color=INK)
    save(figure, path)


def _arrow(axes: Axes, center: tuple[float, float], offset: Offset, scale: float) -> None:
    tip = (center[0] + scale * offset.right_px, center[1] + scale * offset.down_px)
    axes.annotate("", tip, center, arrowprops={"arrowstyle": "-|>", "color": WRONG, "linewidth": 1.4,
                                               "shrinkA": 0, "shrinkB": 0})
    axes.add_patch(Ellipse(tip, 4 * scale * offset.right_error_px, 4 * scale * offset.down_error_px, fill=False,
                           edgecolor=ACCENT, linewidth=0.9))


def _title(found: SceneOffset) -> str:
    o = found.offset
    if o.undetermined:
        return f"{found.scene_id}: offset of the labels undetermined, {o.undetermined}"
    moved = f"east {o.east_m:+.1f} ± {o.east_error_m:.1f} m, north {o.north_m:+.1f} ± {o.north_error_m:.1f} m"
    doubt = "" if o.is_significant else " (as good as 0)"
    return f"{found.scene_id}: labels fit the image when moved {moved}{doubt}"
