"""What is said and drawn of labels that lie beside their image."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from pipeline.params.spatial_split import RegistrationParams
from pipeline.reporting.registration_figures import write_registration
from pipeline.reporting.split_summary import hints, summary_lines
from pipeline.splits.registration import Offset, SceneOffset, TileOffset
from pipeline.types import Window

NONE = Offset(0, 0, 0, 0, 0, 0, 0, 0, "the score is flat")
PARAMS = RegistrationParams(tile_px=64)


def offset(east: float, north: float, error: float = 1.0) -> Offset:
    return Offset(east, north, error, error, east / 10, -north / 10, error / 10, error / 10, "")


def found(whole: Offset, *tiles: Offset) -> SceneOffset:
    return SceneOffset("one", whole, tuple(TileOffset(Window(0, 32 * i, 32, 32), 100, tile)
                                           for i, tile in enumerate(tiles)), 1.5)


def written(tmp_path: Path, tiny_data: Callable[..., Any], scene: SceneOffset) -> dict[str, Any]:
    write_registration(tmp_path, tiny_data().store, (scene,), PARAMS)
    content: dict[str, Any] = json.loads((tmp_path / "registration.json").read_text())
    return content


def test_numbers_are_ready_for_params(tmp_path: Path, tiny_data: Callable[..., Any]) -> None:
    (tmp_path / "metrics.json").write_text('{"kept": 1}')
    tiles = [offset(12, 0), offset(14, 2), offset(16, 8), NONE]
    content = written(tmp_path, tiny_data, found(offset(13.6, -1.2), *tiles))
    assert content["refine_labels.shift"] == {"one": {"east_m": 13.6, "north_m": -1.2}}
    scene = content["scenes"]["one"]
    assert scene["tiles_determined"] == 3
    assert scene["tile_spread_m"] == {"east": round(1.4826 * 2, 3), "north": round(1.4826 * 2, 3)}
    assert scene["tiles"][3] == {"row": 0, "col": 96, "pixels": 100, "determined": False, "reason": "the score is flat",
                                 **dict.fromkeys(("east_m", "north_m", "east_error_m", "north_error_m", "right_px",
                                                  "down_px"))}
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == {"kept": 1, "registration": {"one": {"east_m": 13.6, "north_m": -1.2, "east_error_m": 1.0,
                                                           "north_error_m": 1.0, "significant": True}}}


@pytest.mark.parametrize("whole", [offset(4, 0, 0.1), offset(30, 0, 20), NONE])
def test_what_is_not_significant_is_not_proposed(tmp_path: Path, tiny_data: Callable[..., Any], whole: Offset) -> None:
    assert written(tmp_path, tiny_data, found(whole))["refine_labels.shift"] == {}
    assert hints(tmp_path, {}) == []


def test_nothing_measured_writes_nothing(tmp_path: Path, tiny_data: Callable[..., Any]) -> None:
    write_registration(tmp_path, tiny_data().store, (), PARAMS)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    assert hints(tmp_path, {}) == []


def test_the_figure_is_a_picture_with_arrows(tmp_path: Path, tiny_data: Callable[..., Any]) -> None:
    written(tmp_path, tiny_data, found(offset(13, 0), offset(13, 0), NONE))
    picture = imread(tmp_path / "registration_one.png")
    bare = tmp_path / "bare"
    bare.mkdir()
    written(bare, tiny_data, found(NONE, NONE))
    red = [(np.abs(p[..., :3] - np.array([0xC1, 0x27, 0x2D]) / 255).max(axis=-1) < 0.1).sum()
           for p in (picture, imread(bare / "registration_one.png"))]
    assert red[0] > 50
    assert red[1] == 0


def test_a_hint_says_where_labels_lie_and_what_to_set(tmp_path: Path, tiny_data: Callable[..., Any]) -> None:
    written(tmp_path, tiny_data, found(offset(13.6, -21.2)))
    assert hints(tmp_path, {}) == [
        "labels of scene one as acquired lie 13.6 m west and 21.2 m north of the image (standard errors 1.0 m and "
        "1.0 m); set refine_labels.shift: {one: {east_m: 13.6, north_m: -21.2}}"]
    assert hints(tmp_path, {"one": {"east_m": 12.0, "north_m": -20.0}}) == []
    assert len(hints(tmp_path, {"one": {"east_m": 13.6, "north_m": 0.0}})) == 1
    assert len(hints(tmp_path, {"two": {"east_m": 13.6, "north_m": -21.2}})) == 1


def test_a_shift_that_the_image_does_not_confirm_is_named(tmp_path: Path, tiny_data: Callable[..., Any]) -> None:
    written(tmp_path, tiny_data, found(offset(0.4, 0.2)))
    assert "set refine_labels.shift: {one: {east_m: 0.0, north_m: 0.0}}" in hints(
        tmp_path, {"one": {"east_m": 30.0, "north_m": 0.0}})[0]


def test_the_summary_starts_with_the_parts(tmp_path: Path, tiny_data: Callable[..., Any]) -> None:
    written(tmp_path, tiny_data, found(offset(13.6, -21.2)))
    certificate = {"parts": {"train": {"blocks": 7}, "val": {"blocks": 2}}, "unsupported": []}
    lines = summary_lines(certificate, tmp_path, {"refine_labels": {"shift": {}}})
    assert lines[0] == "train 7 blocks, val 2 blocks; unsupported: none"
    assert len(lines) == 2
