"""What a target is, and which statement stands behind it."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError, NotHereError, NotKumulusError, ParamsError
from pipeline.lineage.identify import Identified, identify
from pipeline.paths import Paths
from tests.unit.lineage.files import sha256
from tests.unit.lineage.small_export import write_export, write_onnx, write_prediction, write_raster


def _at(root: Path, name: str) -> Identified:
    return identify(str(root / name), Paths(root))


@pytest.mark.parametrize(("name", "kind"), [
    ("model.onnx", "onnx"), ("maps/a_class.tif", "geotiff"), ("polygons.gpkg", "geopackage"),
    ("polygons.parquet", "geoparquet"), ("model_card.md", "card"), ("provenance.json", "provenance"),
])
def test_a_file_of_an_export_is_found_by_the_statement_beside_it(root: Path, name: str, kind: str) -> None:
    found = _at(root, f"models/export/{name}")
    assert (found.kind, found.name, found.sha256) == (kind, name, sha256(root / "models/export" / name))
    assert found.provenance == sha256(root / "models/export/provenance.json")
    assert found.statement is not None
    assert found.statement.params == {"seed": 1, "train": {"epochs": 3}}
    assert found.provenance_json is not None
    assert found.provenance_json["lock"] == "d" * 64
    assert found.notes == found.missing == ()


@pytest.mark.parametrize("target", ["models/export", "models/export/lineage.json"])
def test_an_export_folder_is_its_statement(root: Path, target: str) -> None:
    found = _at(root, target)
    assert (found.kind, found.name) == ("statement", "")
    assert found.sha256 == sha256(root / "models/export/lineage.json")
    assert found.statement is not None


def test_a_renamed_copy_elsewhere_is_found_by_what_it_carries(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.tif"
    shutil.copyfile(root / "models/export/maps/a_class.tif", copy)
    found = identify(str(copy), Paths(root))
    assert found.name == "maps/a_class.tif"
    assert found.statement is not None
    assert found.provenance_place.endswith("models/export/provenance.json")


def test_a_map_alone_says_what_it_carries_and_what_is_missing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copyfile(root / "models/export/maps/a_class.tif", alone / "map.tif")
    monkeypatch.chdir(alone)
    found = identify("map.tif", Paths())
    assert found.provenance == sha256(root / "models/export/provenance.json")
    assert found.facts == {"classes": "background, water", "size": "4 x 4 px"}
    assert found.statement is None
    assert found.provenance_json is None
    assert [text.partition(" ")[0] for text in found.missing] == ["lineage.json", "provenance.json"]
    assert all(found.provenance in text for text in found.missing)
    assert [path.name for path in alone.iterdir()] == ["map.tif"]


def test_provenance_beside_a_map_is_taken_without_a_statement(root: Path) -> None:
    (root / "models/export/lineage.json").unlink()
    found = _at(root, "models/export/maps/a_class.tif")
    assert found.statement is None
    assert found.provenance_json is not None
    assert [text.partition(" ")[0] for text in found.missing] == ["lineage.json"]


def test_other_provenance_beside_a_map_is_named_as_such(root: Path) -> None:
    (root / "models/export/provenance.json").write_text('{"format": "kumulus-provenance-1"}')
    found = _at(root, "models/export/model.onnx")
    assert found.provenance_place.endswith("which has another digest")


@pytest.mark.parametrize("name", ["model.onnx", "maps/a_class.tif", "polygons.gpkg", "polygons.parquet"])
def test_a_file_cut_short_is_still_known_by_its_name(root: Path, name: str) -> None:
    file = root / "models/export" / name
    file.write_bytes(file.read_bytes()[:60])
    found = _at(root, f"models/export/{name}")
    assert found.name == name
    assert found.statement is not None
    assert found.sha256 != found.statement.subjects[name]
    assert "copy it again" in found.notes[0] or "GDAL" in found.notes[0]


def test_a_damaged_statement_beside_a_file_is_noted(root: Path) -> None:
    (root / "models/export/lineage.json").write_text("{")
    found = _at(root, "models/export/model.onnx")
    assert found.statement is None
    assert "must be JSON" in found.notes[0]


@pytest.mark.parametrize("target", ["models/export", "models/export/lineage.json"])
@pytest.mark.parametrize(("old", "new"), [('"_type"', '"_tyqe"'), ('"subject"', '"subjest"'), ("{", "[")])
def test_a_damaged_statement_is_one_still_so_that_it_can_be_judged(root: Path, target: str, old: str, new: str) -> None:
    file = root / "models/export/lineage.json"
    file.write_text(file.read_text().replace(old, new, 1))
    found = _at(root, target)
    assert (found.kind, found.statement, found.file) == ("statement", None, file)
    assert len(found.notes) == 1
    assert "lineage.json" in found.notes[0]


def test_provenance_that_is_a_list_is_none(root: Path) -> None:
    (root / "models/export/provenance.json").write_text("[]")
    found = _at(root, "models/export/model.onnx")
    assert (found.provenance_json, found.statement is None) == (None, False)


@pytest.mark.parametrize("target", [
    "models/checkpoint/members/0/weights.safetensors", "models/checkpoint/members/0",
])
def test_weights_are_found_by_their_bytes(root: Path, tmp_path: Path, target: str) -> None:
    found = _at(root, target)
    assert (found.kind, found.name) == ("checkpoint", "")
    assert found.resource == "models/checkpoint/members/0/weights.safetensors"
    shutil.copytree(root / "models/checkpoint/members/0", tmp_path / "copy")
    assert identify(str(tmp_path / "copy"), Paths(root)).resource == found.resource


def test_changed_weights_are_found_by_their_place_and_noted(root: Path) -> None:
    (root / "models/checkpoint/members/0/weights.safetensors").write_text("other")
    found = _at(root, "models/checkpoint/members/0/weights.safetensors")
    assert found.resource == "models/checkpoint/members/0/weights.safetensors"
    assert "no statement names these bytes" in found.notes[0]


def test_weights_that_were_not_exported_are_a_checkpoint_without_a_statement(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "members/0"
    shutil.copytree(root / "models/checkpoint/members/0", folder)
    (folder / "weights.safetensors").write_text("unknown")
    found = identify(str(tmp_path / "members/0"), Paths(root))
    assert found.statement is None
    assert "not exported" in found.notes[0]
    (folder / "model.json").unlink()
    with pytest.raises(NotKumulusError, match=r"no model\.json"):
        identify(str(folder), Paths(root))


def test_an_input_of_the_build_is_known_by_its_bytes(root: Path) -> None:
    found = _at(root, "data/raw/labels.gpkg")
    assert (found.name, found.resource) == ("", "data/raw/labels.gpkg")


def test_a_predicted_map_has_its_own_statement_and_that_of_the_model(root: Path, tmp_path: Path) -> None:
    model, digest = sha256(root / "models/export/model.onnx"), sha256(root / "models/export/provenance.json")
    (tmp_path / "maps").mkdir()
    file = write_prediction(tmp_path / "maps", model, digest)
    found = identify(str(file), Paths(root))
    assert found.is_prediction
    assert found.statement is not None
    assert found.statement.kind == "prediction"
    assert found.model_statement is not None
    assert found.model_statement.kind == "export"
    assert found.missing == ()


def test_a_predicted_map_is_never_taken_for_an_exported_one_of_that_name(root: Path, tmp_path: Path) -> None:
    tags = {"KUMULUS_MODEL": "1" * 64, "KUMULUS_PROVENANCE": sha256(root / "models/export/provenance.json")}
    write_raster(tmp_path / "a_class.tif", tags)
    found = identify(str(tmp_path / "a_class.tif"), Paths(root))
    assert (found.name, found.statement) == ("", None)
    assert found.model_statement is not None
    assert "<scene>_lineage.json" in found.missing[0]


def test_files_of_others_are_refused(root: Path, tmp_path: Path) -> None:
    write_raster(tmp_path / "plain.tif", {})
    write_onnx(tmp_path / "plain.onnx", {})
    (tmp_path / "plain.json").write_text(json.dumps({"format": "x"}))
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "plain.txt").write_text("x")
    (tmp_path / "bad.gpkg").write_text("x")
    for name in ("plain.tif", "plain.onnx", "plain.json", "list.json", "plain.txt", "bad.gpkg"):
        with pytest.raises(NotKumulusError, match="must carry what Kumulus writes"):
            identify(str(tmp_path / name), Paths(root))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotKumulusError, match="must be an export with"):
        identify(str(tmp_path / "empty"), Paths(root))


def test_an_earlier_format_is_refused_with_its_remedy(root: Path, tmp_path: Path) -> None:
    (tmp_path / "lineage.json").write_text(json.dumps({"format": "kumulus-lineage-1"}))
    with pytest.raises(IntegrityError, match="dvc repro"):
        identify(str(tmp_path / "lineage.json"), Paths(root))


def test_what_is_not_there_is_an_error_of_its_own(root: Path) -> None:
    for name in ("none.tif", "x" * 300):
        with pytest.raises(ParamsError, match="is none; name another"):
            _at(root, f"models/export/{name}")
    with pytest.raises(NotHereError, match="did not answer"):
        identify("models:/m/1", Paths(root))
    assert not (root / "mlflow.db").exists()


def test_two_exports_are_told_apart_by_provenance(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_export(other, seed=2)
    shutil.copyfile(other / "models/export/model.onnx", tmp_path / "m.onnx")
    assert identify(str(tmp_path / "m.onnx"), Paths(root)).statement is None
    found = identify(str(tmp_path / "m.onnx"), Paths(other)).statement
    assert found is not None
    assert found.params["seed"] == 2
