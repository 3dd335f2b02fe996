"""Sources and starts come into a replay by their digests, and nothing else does."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.digests import file_sha256
from pipeline.errors import IntegrityError
from pipeline.lineage.bringing import Brought, bring
from pipeline.lineage.finder import Finder
from pipeline.lineage.scratch import Scratch
from pipeline.paths import Paths
from pipeline.tracking.oids import artifact_digests
from pipeline.tracking.statement import Ancestor, Resource, Statement

LOCAL = {"source": "local", "labels_from": "local", "inputs": "inputs"}
PARAMS: dict[str, Any] = {
    "acquire": LOCAL, "train": {"network": {"weights": "", "weights_sha256": ""}, "warm_start": {"uri": ""}}}


class Place:
    """A project with sources, data/raw and a checkpoint, and the empty clone of a replay."""

    def __init__(self, folder: Path) -> None:
        self.root, self.folder = folder / "here", folder
        self.params = copy.deepcopy(PARAMS)
        self.write("inputs/a.tif", "a")
        self.write("inputs/more/b.gpkg", "b")
        self.write("data/raw/scenes/a.tif", "raw")
        self.recorded = [r for name, kind, files in (("inputs", "input", "input"), ("data/raw", "artifact", "file"))
                         for r in self.resources(name, kind, files)]
        self.ancestry: tuple[Ancestor, ...] = ()
        self.scratch = Scratch(folder / "scratch", "")
        self.scratch.root.mkdir(parents=True)
        shutil.copyfile(self.params_file(), self.scratch.root / "params.yaml")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def params_file(self) -> Path:
        path = self.root / "params.yaml"
        with path.open("w", encoding="utf-8") as file:
            YAML().dump(self.params, file)
        return path

    def resources(self, name: str, kind: str, files: str) -> list[Resource]:
        found = artifact_digests(self.root / name, self.root)
        return [Resource(name, kind, found.sha256, found.oid),
                *(Resource(f"{name}/{file}", files, d.sha256, d.md5, artifact=name) for file, d in found.files.items())]

    def cache(self, name: str) -> None:
        """Keep a file in DVC's cache only."""
        path = self.root / name
        md5 = artifact_digests(path, self.root).oid
        target = self.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)

    def bring(self) -> Brought:
        statement = Statement("export", "", {}, tuple(self.recorded), self.params, {}, "", {}, None, False, "", (),
                              self.ancestry, "", {})
        return bring(statement, self.scratch, Finder(Paths(self.root), self.folder / "found"))

    def there(self) -> dict[str, str]:
        """What lies in the clone."""
        return {path.relative_to(self.scratch.root).as_posix(): path.read_text(encoding="utf-8")
                for path in self.scratch.root.rglob("*") if path.is_file() and path.name != "params.yaml"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_local_sources_come_from_where_they_are(place: Place) -> None:
    assert place.bring() == Brought()
    assert place.there() == {"inputs/a.tif": "a", "inputs/more/b.gpkg": "b"}


def test_a_copy_is_no_link(place: Place) -> None:
    place.bring()
    assert (place.scratch.root / "inputs/a.tif").stat().st_nlink == 1


def test_other_bytes_are_refused_and_the_cache_is_asked(place: Place) -> None:
    place.cache("inputs/a.tif")
    place.write("inputs/a.tif", "edited since")
    brought = place.bring()
    assert brought.acquires
    assert brought.notes == ("inputs/a.tif is refused: it has other bytes now than those on record",)
    assert place.there()["inputs/a.tif"] == "a"


def test_without_the_sources_it_begins_after_acquire(place: Place) -> None:
    place.write("inputs/a.tif", "edited since")
    brought = place.bring()
    assert (brought.acquires, brought.targets, brought.missing) == (False, ("--downstream", "refine_labels"), ())
    assert brought.notes[-1] == ("acquire is not replayed: the source inputs/a.tif is nowhere with the recorded bytes; "
                                 "data/raw was brought by its digests")
    assert place.there()["data/raw/scenes/a.tif"] == "raw"


def test_without_sources_and_raw_data_it_says_what_is_missing(place: Place) -> None:
    (place.root / "inputs/a.tif").unlink()
    (place.root / "data/raw/scenes/a.tif").unlink()
    brought = place.bring()
    assert len(brought.missing) == 1
    assert brought.missing[0].startswith("the source inputs/a.tif is nowhere with the recorded bytes, and neither is "
                                         "data/raw/scenes/a.tif of data/raw; bring the file back to inputs")


def test_what_git_has_is_left_as_it_is(place: Place) -> None:
    (place.root / "inputs/a.tif").unlink()
    (place.scratch.root / "inputs").mkdir()
    (place.scratch.root / "inputs/a.tif").write_text("a", encoding="utf-8")
    assert place.bring() == Brought()


def test_sources_elsewhere_are_read_where_they_lie_if_they_are_the_same(place: Place, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.tif").write_text("a", encoding="utf-8")
    place.params["acquire"] = {**LOCAL, "inputs": str(tmp_path / "elsewhere")}
    digest = file_sha256(tmp_path / "elsewhere/a.tif")
    place.recorded = [r for r in place.recorded if r.kind != "input"]
    place.recorded.append(Resource("inputs:/a.tif", "input", digest, "1", artifact="inputs:"))
    assert place.bring() == Brought()
    (tmp_path / "elsewhere/a.tif").write_text("b", encoding="utf-8")
    assert not place.bring().acquires


def test_synthetic_scenes_need_no_inputs(place: Place) -> None:
    place.params["acquire"] = {**LOCAL, "source": "synthetic"}
    shutil.rmtree(place.root / "inputs")
    brought = place.bring()
    assert (brought.acquires, brought.missing) == (True, ())
    assert (place.scratch.root / "inputs").is_dir()


@pytest.mark.parametrize("changes", [{"source": "stac"}, {"labels_from": "osm"}], ids=["stac", "osm"])
def test_what_came_over_a_network_is_not_asked_for_again(place: Place, changes: dict[str, str]) -> None:
    place.params["acquire"] = {**LOCAL, **changes}
    assert not place.bring().acquires
    (place.root / "data/raw/scenes/a.tif").unlink()
    brought = place.bring()
    assert brought.acquires
    assert "asks the network" in brought.notes[0]


@pytest.mark.parametrize("name", ["../../escaped/a.tif", "{folder}/escaped/a.tif"])
def test_nothing_is_laid_outside_of_the_clone(place: Place, tmp_path: Path, name: str) -> None:
    name = name.format(folder=tmp_path)
    shutil.rmtree(place.root / "inputs")
    found = place.write("found", "raw")
    place.recorded += [Resource(name, "file", file_sha256(found), artifact_digests(found, place.root).oid,
                                artifact="data/raw")]
    place.cache("found")
    with pytest.raises(IntegrityError, match="leads out of it"):
        place.bring()
    assert not list(tmp_path.rglob("escaped"))


def test_nothing_is_laid_through_a_link_of_the_commit(place: Place, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (place.scratch.root / "data").symlink_to(tmp_path / "outside")
    shutil.rmtree(place.root / "inputs")
    with pytest.raises(IntegrityError, match="leads out of it"):
        place.bring()
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("outside", ["../../made", "{folder}/made"])
def test_no_folder_is_made_outside_of_the_clone(place: Place, tmp_path: Path, outside: str) -> None:
    outside = outside.format(folder=tmp_path)
    place.params["acquire"] = {**LOCAL, "source": "synthetic", "inputs": outside}
    brought = place.bring()
    assert brought.missing == (f"acquire.inputs is {outside}, outside of the project, and not there; make the folder",)
    assert not list(tmp_path.rglob("made"))


def test_an_encoders_weights_come_along(place: Place) -> None:
    weights = place.write("encoders/resnet.pt", "e")
    place.params["train"]["network"] = {"weights": "encoders/resnet.pt", "weights_sha256": file_sha256(weights)}
    assert place.bring().missing == ()
    assert place.there()["encoders/resnet.pt"] == "e"
    weights.write_text("f", encoding="utf-8")
    assert place.bring().missing[0].startswith("the encoder's weights encoders/resnet.pt")


class Started:
    """A training that started from another one's weights."""

    def __init__(self, place: Place, uri: str) -> None:
        self.place = place
        self.weights, self.spec = place.write("start/weights.safetensors", "w"), place.write("start/model.json", "{}")
        own = {"ancestry": [{"sha256": file_sha256(self.weights), "spec_sha256": file_sha256(self.spec)}]}
        place.write("models/checkpoint/members/0/model.json", json.dumps(own))
        place.recorded += place.resources("models/checkpoint", "artifact", "file")
        place.params["train"]["warm_start"]["uri"] = uri
        shutil.copyfile(place.params_file(), place.scratch.root / "params.yaml")

    def uri_there(self) -> str:
        text = (self.place.scratch.root / "params.yaml").read_text(encoding="utf-8")
        return str(YAML(typ="safe").load(text)["train"]["warm_start"]["uri"])


def test_a_start_comes_to_its_place(place: Place) -> None:
    started = Started(place, "start")
    brought = place.bring()
    assert (brought.missing, brought.changed) == ((), "")
    assert place.there()["start/weights.safetensors"] == "w"
    assert started.uri_there() == "start"


@pytest.mark.parametrize("outside", ["runs:/0123", "../../start"])
def test_a_start_from_elsewhere_gets_a_place_and_says_so(place: Place, outside: str) -> None:
    started = Started(place, outside)
    known = {"sha256": file_sha256(started.weights)}, {"sha256": file_sha256(started.spec)}
    of_start = Statement("export", "", {}, tuple(Resource(f"start/{name}", "file", digest["sha256"]) for name, digest in
                                                 zip(("weights.safetensors", "model.json"), known, strict=True)),
                         {}, {}, "", {}, None, False, "", (), (), "", {})
    place.ancestry = (Ancestor(known[0]["sha256"], outside, "", of_start),)
    brought = place.bring()
    assert brought.missing == ()
    assert brought.changed.startswith("params.yaml of the replay names .kumulus/start as the start in place of "
                                      f"{outside}")
    assert started.uri_there() == ".kumulus/start"
    assert place.there()[".kumulus/start/weights.safetensors"] == "w"


def test_a_start_that_is_nowhere_is_named(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started = Started(place, "start")
    started.weights.write_text("other weights", encoding="utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    brought = place.bring()
    assert brought.missing[0].startswith("what member 0 started from is missing: weights.safetensors of start (sha256 ")
    assert not (tmp_path / "none.db").exists()


def test_a_start_is_found_in_the_cache_by_its_folder(place: Place) -> None:
    Started(place, "start")
    folder = [{"md5": artifact_digests(place.root / f"start/{name}", place.root).oid, "relpath": f"members/0/{name}"}
              for name in ("model.json", "weights.safetensors")]
    for name in ("weights.safetensors", "model.json"):
        place.cache(f"start/{name}")
    text = json.dumps(folder, sort_keys=True)
    path = place.write("listing", text)
    md5 = artifact_digests(path, place.root).oid
    target = place.root / ".dvc/cache/files/md5" / md5[:2] / f"{md5[2:]}.dir"
    target.parent.mkdir(exist_ok=True)
    shutil.move(path, target)
    assert place.bring().missing == ()
    assert place.there()["start/weights.safetensors"] == "w"


def test_a_start_without_a_digest_on_record(place: Place) -> None:
    place.params["train"]["warm_start"]["uri"] = "start"
    assert "has no digest on record" in place.bring().missing[0]
