"""By how much weights and maps differ, and what that means with and without an excuse."""

from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from pyproj import CRS
from safetensors.torch import save_file

from pipeline.digests import file_sha256
from pipeline.errors import IntegrityError, ModelError, SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.lineage.agreement import Compared, agree, equal_share, weights_apart
from pipeline.lineage.finder import Finder
from pipeline.lineage.replay import ReplayReport, judge
from pipeline.paths import Paths
from pipeline.tracking.oids import artifact_digests
from pipeline.tracking.statement import Resource, Statement
from pipeline.types import Window

CRS_WKT = CRS.from_epsg(32748).to_wkt()


def weights(path: Path, first: list[float], second: list[float]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"a": torch.tensor(first), "b": torch.tensor(second)}, path)
    return path


def class_map(path: Path, rows: list[list[int]], left: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.array(rows, dtype=np.uint8)
    grid = Grid(CRS_WKT, Affine(10, 0, left, 0, -10, 0), *pixels.shape)
    with raster_io.create(path, grid, "uint8", ["class"], 255) as writer:
        writer.write(pixels, Window(0, 0, *pixels.shape))
    return path


def test_weights_by_their_largest_value_and_norm(tmp_path: Path) -> None:
    one = weights(tmp_path / "one", [3.0, 4.0], [0.0, 1.0])
    other = weights(tmp_path / "other", [3.0, 4.5], [0.0, 0.8])
    apart = weights_apart(one, other)
    assert apart["largest_absolute"] == pytest.approx(0.5)
    assert apart["largest_relative"] == pytest.approx(0.2)  # 0.2 of 1 in b, 0.5 of 5 in a


def test_weights_of_other_tensors_cannot_be_compared(tmp_path: Path) -> None:
    one, other = weights(tmp_path / "one", [3.0], [1.0]), weights(tmp_path / "other", [3.0, 4.0], [1.0])
    with pytest.raises(ModelError, match="names or shapes differ"):
        weights_apart(one, other)


def test_maps_by_the_pixels_that_have_a_class_in_either(tmp_path: Path) -> None:
    one = class_map(tmp_path / "one.tif", [[0, 1, 255], [1, 1, 255]])
    other = class_map(tmp_path / "other.tif", [[0, 1, 255], [1, 0, 1]])
    assert equal_share(one, other) == pytest.approx(3 / 5)
    nothing = class_map(tmp_path / "nothing.tif", [[255, 255]])
    assert equal_share(nothing, nothing) == 1.0


def test_maps_of_other_places_cannot_be_compared(tmp_path: Path) -> None:
    one, other = class_map(tmp_path / "one.tif", [[0, 1]]), class_map(tmp_path / "other.tif", [[0, 1]], left=5.0)
    with pytest.raises(SceneError, match="one grid"):
        equal_share(one, other)


class Build:
    """A workspace with a checkpoint and an export, their statement, and a replay of them."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there = Paths(folder / "here"), Paths(folder / "there")
        for paths in (self.here, self.there):
            weights(paths.checkpoint / "members/0/weights.safetensors", [3.0, 4.0], [1.0])
            (paths.checkpoint / "members/0/model.json").write_text("{}")
            class_map(paths.export / "maps/x_class.tif", [[0, 1, 1, 1]])
            (paths.export / "provenance.json").write_text("{}")
            paths.raw.mkdir(parents=True)
            (paths.raw / "catalog.json").write_text("{}")
            paths.run_file.write_text(f'{{"key": "{paths.root.name}"}}')
        self.scratch = folder / "scratch"

    def statement(self) -> Statement:
        resources = []
        for name in ("data/raw", "models/checkpoint", "models/run.json"):
            found = artifact_digests(self.here.root / name, self.here.root)
            stage = "acquire" if name == "data/raw" else "train"
            resources.append(Resource(name, "artifact", found.sha256, found.oid, stages=(stage,)))
            resources += [Resource(f"{name}/{file}", "file", digests.sha256, digests.md5, artifact=name)
                          for file, digests in found.files.items()]
        subjects = {name: file_sha256(self.here.export / name) for name in ("maps/x_class.tif", "provenance.json")}
        return Statement("export", "", subjects, tuple(resources), {}, {}, "", {}, None, False, "", (), (), "", {})

    def compared(self) -> dict[str, Compared]:
        self.lock()
        found = agree(self.statement(), self.there, Finder(self.here, self.scratch))
        return {one.name: one for one in found}

    def lock(self) -> None:
        """As `dvc repro` leaves it in the replay."""
        lines = [f"    - path: {name}\n      md5: {artifact_digests(self.there.root / name, self.there.root).oid}\n"
                 for name in ("data/raw", "models/checkpoint", "models/run.json")]
        (self.there.root / "dvc.lock").write_text("stages:\n  all:\n    outs:\n" + "".join(lines))


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


def test_a_replay_that_made_the_same_is_verified(build: Build) -> None:
    compared = build.compared()
    assert set(compared) == {"data/raw", "models/checkpoint/members/0/weights.safetensors",
                             "models/checkpoint/members/0/model.json", "models/export/maps/x_class.tif",
                             "models/export/provenance.json"}  # and not run.json, whose key is each training's own
    assert all(one.equal for one in compared.values())
    verdict, message = judge(list(compared.values()), [])
    assert (verdict, message) == ("verified", "5 artifacts and files are byte-identical, weights and maps among them")


def test_what_was_brought_is_not_counted_as_made_again(build: Build) -> None:
    build.lock()
    found = agree(build.statement(), build.there, Finder(build.here, build.scratch), acquired=False)
    assert "data/raw" not in {one.name for one in found}
    assert judge(found, [])[1].startswith("4 artifacts and files")


def test_a_raw_file_that_differs_is_named(build: Build) -> None:
    (build.there.raw / "catalog.json").write_text("[]")
    compared = build.compared()
    assert compared["data/raw"].shown == "data/raw: differs; 1 of 1 files, such as data/raw/catalog.json"
    verdict, message = judge(list(compared.values()), [])
    assert verdict == "contradicted"
    assert message.endswith("1 of 5 artifacts and files differ, first data/raw")


def test_weights_within_the_tolerance_count_only_with_an_excuse(build: Build) -> None:
    weights(build.there.checkpoint / "members/0/weights.safetensors", [3.0, 4.1], [1.0])
    compared = list(build.compared().values())
    found = next(one for one in compared if one.kind == "weights")
    assert found.within is True
    assert found.measured["largest_relative"] == pytest.approx(0.02, rel=1e-4)  # 0.1 of 5
    assert judge(compared, [])[0] == "contradicted"
    verdict, message = judge(compared, ["machine or libraries differ in 1 points"])
    assert verdict == "verified"
    assert "agree within the tolerances" in message


def test_weights_outside_the_tolerance_are_no_proof_on_another_machine(build: Build) -> None:
    weights(build.there.checkpoint / "members/0/weights.safetensors", [3.0, 5.0], [1.0])
    compared = list(build.compared().values())
    verdict, message = judge(compared, ["machine or libraries differ in 1 points"])
    assert verdict == "unverifiable"
    assert message.startswith("models/checkpoint/members/0/weights.safetensors is outside the tolerances")


def test_a_map_outside_the_tolerance(build: Build) -> None:
    class_map(build.there.export / "maps/x_class.tif", [[0, 1, 1, 0]])
    compared = build.compared()
    found = compared["models/export/maps/x_class.tif"]
    assert (found.measured, found.within) == ({"equal_share": 0.75}, False)
    assert judge(list(compared.values()), ["x"])[0] == "unverifiable"


def test_other_files_may_differ_with_an_excuse(build: Build) -> None:
    (build.there.export / "provenance.json").write_text("[]")
    compared = list(build.compared().values())
    verdict, message = judge(compared, ["cpu differs"])
    assert (verdict, message) == ("verified",
                                  "weights and class maps are byte-identical, though other files differ (cpu differs)")
    assert judge(compared, [])[0] == "contradicted"


def test_recorded_bytes_that_are_nowhere(build: Build) -> None:
    path = build.there.checkpoint / "members/0/weights.safetensors"
    build.lock()
    statement = build.statement()
    weights(path, [3.0, 4.1], [1.0])
    (build.here.checkpoint / "members/0/weights.safetensors").unlink()
    compared = agree(statement, build.there, Finder(build.here, build.scratch))
    verdict, message = judge(compared, ["cpu differs"])
    assert verdict == "unverifiable"
    assert "the recorded bytes are not here" in message


def test_a_file_that_the_replay_did_not_make(build: Build) -> None:
    (build.there.export / "maps/x_class.tif").unlink()
    compared = build.compared()
    found = compared["models/export/maps/x_class.tif"]
    assert (found.within, found.note) == (False, "the replay made none")
    assert judge(list(compared.values()), ["x"])[0] == "unverifiable"


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(IntegrityError, match="names no artifact"):
        judge([Compared("reports/train", "report", True)], [])


def test_the_report_says_what_it_rests_on(build: Build) -> None:
    weights(build.there.checkpoint / "members/0/weights.safetensors", [3.0, 4.1], [1.0])
    compared = tuple(build.compared().values())
    differing = tuple(f"{name}: 1 -> 2" for name in "abcdefgh")
    report = ReplayReport("verified", "all well", "1" * 40, "branch main", differing, ("a note",), compared, "/kept")
    assert report.exit_code == 0
    assert report.text().splitlines() == [
        "replay: verified: all well", "  commit 111111111 (branch main)", "  a note",
        *(f"  differs here: {name}: 1 -> 2" for name in "abcdef"), "  differs here: 2 more (--json has all)",
        "  models/checkpoint/members/0/weights.safetensors: differs; largest absolute 0.1, largest relative 0.02; "
        "within tolerance", "  models/export/maps/x_class.tif: byte-identical",
        "  3 other artifacts and files: byte-identical", "  kept in /kept"]
    plain = report.to_json()
    assert plain["tolerances"] == {"weights_largest_relative": 0.05, "map_equal_share": 0.98}
    assert plain["compared"][0] == {"name": "data/raw", "kind": "data", "equal": True, "measured": {}, "within": None,
                                    "note": ""}
    assert [ReplayReport(verdict, "").exit_code for verdict in ("unverifiable", "contradicted")] == [3, 4]
