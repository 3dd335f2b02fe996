"""`kumulus trace`: what it prints and how it ends, on an export made by hand of which little else is there."""

import json
import shutil
from pathlib import Path

import pytest
from prov.model import ProvDocument
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cli_lineage import repository
from pipeline.errors import ParamsError
from pipeline.paths import Paths
from tests.unit.lineage.files import sha256
from tests.unit.lineage.small_export import write_export, write_raster

runner = CliRunner()
MAP = "models/export/maps/a_class.tif"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with an export."""
    monkeypatch.chdir(tmp_path)
    write_export(tmp_path)
    return tmp_path


def trace(*words: str, status: int = 0) -> str:
    result = runner.invoke(app, ["trace", *words])
    assert result.exit_code == status, result.output
    return result.stdout if status in (0, 3, 4) and result.stdout else result.stderr


def test_the_tree_is_printed(folder: Path) -> None:
    text = trace(MAP)
    assert text.splitlines()[0] == f"{MAP}: GeoTIFF"
    assert "── acquire" in text
    assert trace(MAP) == text


def test_json_has_the_graph_and_the_checks(folder: Path) -> None:
    found = json.loads(trace(MAP, "--json"))
    assert (found["kind"], found["name"], found["root"]) == ("geotiff", "maps/a_class.tif", "subject")
    assert "verify" not in found
    assert "exit_code" not in found
    write_export(folder, whole=True)
    found = json.loads(trace(MAP, "--json", "--verify", status=3))
    assert (found["verify"]["verdict"], found["exit_code"]) == ("unverifiable", 3)
    assert {link["verdict"] for link in found["verify"]["links"]} >= {"verified", "absent"}


def test_other_forms_are_for_other_tools(folder: Path) -> None:
    assert ProvDocument.deserialize(content=trace(MAP, "--as", "prov"), format="json").get_records()
    lines = trace(MAP, "--as", "openlineage").splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE"] * 4


def test_a_page_is_written_beside_what_is_printed(folder: Path) -> None:
    found = runner.invoke(app, ["trace", MAP, "--json", "--html", "page.html"])
    assert json.loads(found.stdout)["name"] == "maps/a_class.tif"
    assert found.stderr == "page.html has the page\n"
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert sha256(folder / MAP) in page


def test_one_changed_byte_is_contradicted(folder: Path) -> None:
    write_export(folder, whole=True)
    data = bytearray((folder / MAP).read_bytes())
    data[-1] ^= 1
    (folder / MAP).write_bytes(data)
    text = trace(MAP, "--verify", status=4)
    assert "verify: contradicted" in text
    assert "first broken link: maps/a_class.tif" in text
    assert "[contradicted]" in text


def test_a_map_alone_is_unverifiable_and_tells_what_it_needs(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = tmp_path_factory.mktemp("alone")
    shutil.copyfile(folder / MAP, alone / "map.tif")
    monkeypatch.chdir(alone)
    text = " ".join(trace("map.tif", "--verify", status=3).split())
    for part in (sha256(folder / "models/export/provenance.json"), "classes: background, water",
                 "not here: lineage.json of the build", "verify: unverifiable", "first broken link: lineage.json"):
        assert part in text
    assert trace("map.tif")
    assert [path.name for path in alone.iterdir()] == ["map.tif"]
    assert "known as maps/a_class.tif" in trace("map.tif", "--repository", str(folder))


def test_other_ends_have_their_own_status(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raster(folder / "plain.tif", {})
    assert trace("plain.tif", status=5).count("\n") == 1
    assert "must be a file or folder" in trace("none.tif", status=1)
    assert "did not answer" in trace("models:/m/1", status=3)
    assert "must be prov or openlineage" in trace(MAP, "--as", "xml", status=2)
    assert "without --json" in trace(MAP, "--as", "prov", "--json", status=2)
    assert "--public-key too" in trace(MAP, "--signature", "x", status=1)
    result = runner.invoke(app, ["trace"])
    assert result.exit_code == 2


def test_a_signature_is_made_and_checked(folder: Path) -> None:
    made = runner.invoke(app, ["sign", "--key", "k.pem", "--new-key"])
    assert made.exit_code == 0, made.output
    assert "k.pub is the public one" in made.stdout
    found = json.loads(trace("models/export", "--json", "--public-key", "k.pub"))
    assert (found["signature"]["verdict"], found["exit_code"]) == ("verified", 0)
    assert "signature: verified" in trace(MAP, "--public-key", "k.pub")
    (folder / "models/export/model.onnx").write_bytes(b"x")
    assert "signature: contradicted" in trace("models/export", "--public-key", "k.pub", status=4)
    shutil.rmtree(folder / "signatures")
    assert "signature: unverifiable" in trace(MAP, "--public-key", "k.pub", status=3)


def test_diff_names_what_differs(folder: Path) -> None:
    write_export(folder / "other", seed=2)
    found = runner.invoke(app, ["diff", "models/export", "other/models/export"])
    assert found.exit_code == 0, found.output
    assert "seed: 1 -> 2" in found.stdout
    plain = json.loads(runner.invoke(app, ["diff", "models/export", "other/models/export", "--json"]).stdout)
    assert plain["params"]["seed"]


def test_the_repository_is_the_one_around(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repository(MAP, None) == Paths()
    with pytest.raises(ParamsError, match="--repository must be a folder"):
        repository(MAP, folder / "x")
    (folder / "x").mkdir()
    assert repository(MAP, folder / "x") == Paths(folder / "x")
    (folder / "dvc.yaml").write_text("stages: {}\n")
    assert repository(MAP, None) == Paths()
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert repository("x.tif", None) == Paths(folder)
    monkeypatch.chdir("/")
    assert repository(str(folder / MAP), None) == Paths(folder)
    assert repository("models:/m/1", None) == Paths()
