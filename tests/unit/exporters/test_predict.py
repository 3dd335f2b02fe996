"""Maps of a scene the model has not seen: same map in any band order or unit, and refusals leave nothing."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import IntegrityError, ModelError, ParamsError, SceneError
from pipeline.exporters import predict
from pipeline.exporters.onnx_model import export_onnx
from pipeline.exporters.predict import load_model, predict_scenes
from pipeline.geo.raster_io import describe, read, write
from pipeline.inference.onnx_predictor import ModelFacts
from pipeline.inference.raster_pixels import RasterPixels, RasterValues
from pipeline.networks.members import save_member
from pipeline.networks.segmenter import Segmenter
from pipeline.params.evaluate import TileParams
from pipeline.tracking import statement
from pipeline.types import FloatArray, Window

TILES = TileParams(size_px=64, overlap_px=16)
Scene = Callable[..., Path]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_maps_style_and_lineage_of_a_scene(onnx_file: Path, scene_file: Scene, tmp_path: Path) -> None:
    scene = scene_file()
    (result,) = predict_scenes([scene], onnx_file, tmp_path / "out", TILES)
    names = ["town_class.qml", "town_class.tif", "town_confidence.tif", "town_lineage.json"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    classes = read(result.class_map)
    assert classes.shape == (72, 100)
    assert (classes[:10, :20] == 255).all()
    assert (np.delete(classes.ravel(), np.flatnonzero(classes.ravel() == 255)) < 3).all()
    assert sum(result.shares.values()) == pytest.approx(1)
    lineage = statement.read(result.lineage)
    assert [(r.name, r.kind, r.sha256) for r in lineage.resources] == [
        ("model.onnx", "model", sha256(onnx_file)), ("town.tif", "scene", sha256(scene))]
    assert (lineage.kind, lineage.provenance) == ("prediction", "ab" * 32)
    assert lineage.subjects == {name: sha256(tmp_path / "out" / name) for name in names[:3]}
    assert lineage.environments["predict"]["precision"] == "32-true"
    assert str(tmp_path) not in result.lineage.read_text()
    tags = describe(result.confidence).tags
    assert (tags["KUMULUS_PROVENANCE"], tags["KUMULUS_MODEL"]) == ("ab" * 32, sha256(onnx_file))


def test_tiles_are_the_evaluations_unless_others_are_asked_for(
    segmenter: Callable[[int], Segmenter], scene_file: Scene, tmp_path: Path
) -> None:
    network = segmenter(0)
    export_onnx(tmp_path / "m.onnx", [network], ModelFacts.of([network.spec], "", TILES).to_metadata(), opset=18)
    scene, asked = scene_file(), TileParams(size_px=32, overlap_px=8)
    for tiles, used in ((None, TILES), (asked, asked)):
        (made,) = predict_scenes([scene], tmp_path / "m.onnx", tmp_path / "out", tiles)
        assert statement.read(made.lineage).params["tiles"] == used.model_dump()


def test_again_gives_the_same_bytes_and_replaces(onnx_file: Path, scene_file: Scene, tmp_path: Path) -> None:
    scene = scene_file()
    (first,) = predict_scenes([scene], onnx_file, tmp_path / "out", TILES)
    before = first.class_map.read_bytes()
    (second,) = predict_scenes([scene], onnx_file, tmp_path / "out", TILES)
    assert second.class_map.read_bytes() == before


def test_other_band_order_and_unit_give_the_same_map(onnx_file: Path, scene_file: Scene, tmp_path: Path) -> None:
    (plain,) = predict_scenes([scene_file()], onnx_file, tmp_path / "out", TILES)
    unnamed = scene_file("unnamed", bands=("1", "2", "3", "4"))
    scaled = scene_file("scaled", factor=1e-4)
    (named,) = predict_scenes([unnamed], onnx_file, tmp_path / "out", TILES, bands=["blue", "green", "red", "nir"])
    assert (read(named.class_map) == read(plain.class_map)).all()
    (rescaled,) = predict_scenes([scaled], onnx_file, tmp_path / "out", TILES, values=RasterValues(scale=10000))
    assert np.mean(read(rescaled.class_map) == read(plain.class_map)) > 0.99  # whole numbers there, not here


def test_digital_numbers_give_the_map_of_the_converted_scene(
    onnx_file: Path, scene_file: Scene, tmp_path: Path
) -> None:
    converted = scene_file()
    info, image = describe(converted), read(converted)
    numbers = np.where(image == 0, 0, image + 1000).astype(np.uint16)
    write(tmp_path / "raw.tif", numbers, info.grid, [str(b) for b in info.bands])
    values = RasterValues(offset=-1000, quantification=10000)
    (plain,) = predict_scenes([converted], onnx_file, tmp_path / "out", TILES)
    (raw,) = predict_scenes([tmp_path / "raw.tif"], onnx_file, tmp_path / "out", TILES, values=values)
    assert (read(raw.class_map) == read(plain.class_map)).all()
    settings = statement.read(raw.lineage).params
    assert {k: settings[k] for k in ("scale", "offset", "quantification", "nodata", "zeros")} == {
        "scale": 1.0, "offset": -1000, "quantification": 10000, "nodata": None, "zeros": "refuse"}


def test_undeclared_zeros_need_a_word(onnx_file: Path, scene_file: Scene, tmp_path: Path) -> None:
    scene = scene_file(nodata=None)
    with pytest.raises(SceneError, match=r"must say what its zeros mean, .*: 200 of 7200 pixels \(2\.8%\) are 0 in "
                                         "every band of the model and reach its edge; pass --zeros nodata, or"):
        predict_scenes([scene], onnx_file, tmp_path / "out", TILES)
    for given, missing in ((RasterValues(zeros="nodata"), 200), (RasterValues(zeros="data"), 0),
                           (RasterValues(nodata=0), 200)):
        (made,) = predict_scenes([scene], onnx_file, tmp_path / "out", TILES, values=given)
        assert (read(made.class_map) == 255).sum() == missing


def test_export_folder_and_checkpoint_are_models_too(
    onnx_file: Path, segmenter: Callable[[int], Segmenter], scene_file: Scene, tmp_path: Path
) -> None:
    save_member(tmp_path / "checkpoint/members/0", segmenter(0), "epoch\n")
    assert load_model(onnx_file.parent).sha256 == sha256(onnx_file)
    checkpoint = load_model(tmp_path / "checkpoint")
    assert (checkpoint.facts.provenance, checkpoint.name) == ("", "checkpoint")
    maps = [predict_scenes([scene_file()], ref, tmp_path / name, TILES)[0].class_map
            for ref, name in ((onnx_file, "a"), (tmp_path / "checkpoint", "b"))]
    assert np.mean(read(maps[0]) == read(maps[1])) > 0.999
    assert statement.read(tmp_path / "b/town_lineage.json").provenance == ""


def test_no_read_is_larger_than_a_row_of_tiles(
    onnx_file: Path, scene_file: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heights: list[int] = []
    plain = RasterPixels.read

    def recorded(self: RasterPixels, window: Window) -> FloatArray:
        heights.append(window.height)
        return plain(self, window)

    monkeypatch.setattr(RasterPixels, "read", recorded)
    predict_scenes([scene_file()], onnx_file, tmp_path / "out", TileParams(size_px=32, overlap_px=8))
    assert max(heights) <= 32


@pytest.mark.parametrize(("spoiled", "said"), [
    ({"bands": ("blue", "green", "red", "B8")}, r"\['nir'\] missing among \['blue', 'green', 'red', 'B8'\].*--bands"),
    ({"bands": ("blue", "green", "red")}, r"\['nir'\] missing"),
    ({"crs": ""}, "must have a CRS: got none; pass --crs"),
    ({"empty": True}, "must have pixels with data.*got none in 72x100"),
    ({"factor": 1e-4}, r"0\.0% are, as blue runs from 0\.03\d+ to 0\.28 .* 200 to 3000;.*--scale 10000"),
    ({"factor": 10.0}, r"as \w+ runs from .*--scale 0\.1"),
    ({"pixel_m": 21.0}, "pixels of half to twice the 10 m the model was trained on: got 21 m"),
    ({"pixel_m": 4.9}, r"got 4\.9 m"),
])
def test_scenes_of_another_kind_are_refused(
    onnx_file: Path, scene_file: Scene, tmp_path: Path, spoiled: dict[str, object], said: str
) -> None:
    good, bad = scene_file("good"), scene_file("bad", **spoiled)
    with pytest.raises(SceneError, match=said):
        predict_scenes([good, bad], onnx_file, tmp_path / "out", TILES)
    assert not (tmp_path / "out").exists()  # all are checked before the first is predicted


def test_requests_that_make_no_sense(onnx_file: Path, scene_file: Scene, tmp_path: Path) -> None:
    scene, out = scene_file(), tmp_path / "out"
    with pytest.raises(ModelError, match="multiple of the model's 8: got 36"):
        predict_scenes([scene], onnx_file, out, TileParams.model_construct(size_px=36, overlap_px=4))
    with pytest.raises(SceneError, match="--scale must be a number above 0: got 0"):
        predict_scenes([scene], onnx_file, out, TILES, values=RasterValues(scale=0))
    with pytest.raises(SceneError, match="at least one scene"):
        predict_scenes([], onnx_file, out, TILES)
    with pytest.raises(SceneError, match="must be a file"):
        predict_scenes([tmp_path / "none.tif"], onnx_file, out, TILES)
    with pytest.raises(SceneError, match=r"different names.*\['town'\]"):
        predict_scenes([scene, scene], onnx_file, out, TILES)
    with pytest.raises(SceneError, match="must not replace a scene"):
        predict_scenes([scene_file("a_class"), scene_file("a")], onnx_file, tmp_path, TILES)
    with pytest.raises(ParamsError, match=r"--out must name a folder: .*town\.tif is a file"):
        predict_scenes([scene], onnx_file, scene, TILES)
    with pytest.raises(ModelError, match="got nothing there"):
        load_model(tmp_path / "none")
    with pytest.raises(ModelError, match="got a folder without"):
        load_model(tmp_path)


def test_a_failure_on_the_way_leaves_nothing(
    onnx_file: Path, scene_file: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise IntegrityError("no")

    monkeypatch.setattr(predict, "check_cog", refuse)
    with pytest.raises(IntegrityError):
        predict_scenes([scene_file()], onnx_file, tmp_path / "out", TILES)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_half_done_move_is_undone(
    onnx_file: Path, scene_file: Scene, tmp_path: Path
) -> None:
    (tmp_path / "out/town_class.qml").mkdir(parents=True)  # in the way of the third file
    with pytest.raises(OSError, match=r"town_class\.qml"):
        predict_scenes([scene_file()], onnx_file, tmp_path / "out", TILES)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["town_class.qml"]
