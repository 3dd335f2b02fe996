"""Stage train: one member as ever, several members with their own folds and seeds, kills, and what nobody may see."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from pipeline.digests import file_sha256, folder_digests
from pipeline.errors import ModelError, SplitError
from pipeline.geo import raster_io
from pipeline.inference import judge
from pipeline.networks.members import load_member, member_folders
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.tracking.computed import computations
from pipeline.tracking.sender import sync
from pipeline.tracking.store import client, locate
from pipeline.training import members, resume
from pipeline.training.ranks import Ranks
from pipeline.types import TEST_FOLD, RunLog, SilentLog
from stages.train import run
from tests.unit.conftest import CLASSES, TinyData, tiny_data  # noqa: F401

SMALL = {"network": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}, "patches": {"size_px": 32, "per_epoch": 8},
         "batch_size": 4, "epochs": 2, "threads": 1, "accelerator": "cpu"}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def settings(**train: Any) -> Params:
    folds = max(2, train.get("folds", 3))  # params.yaml may have been edited since the split was made
    return Params({"seed": 5, "spatial_split": {"folds": folds}, "task": {
        "bands": ["blue", "green", "red", "nir"], "background": "background",
        "classes": [{"name": name, "color": "#102030"} for name in CLASSES]}, "train": {**SMALL, **train}})


@pytest.fixture
def project(tiny_data: Callable[..., TinyData], tmp_path: Path) -> Callable[..., Paths]:  # noqa: F811
    """A function that makes a working folder whose data/ is the tiny store."""

    def make(name: str = "work", **changes: Any) -> Paths:
        tiny_data(f"{name}/data", **changes)
        return Paths(tmp_path / name)

    return make


def train(paths: Paths, log: RunLog | None = None, **changes: Any) -> dict[str, Any]:
    return run(settings(**changes), paths, log or SilentLog())


class Notes(SilentLog):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any, int]] = []

    def params(self, values: Mapping[str, Any]) -> None:
        self.told.append(("params", dict(values), 0))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.told.append(("metrics", dict(values), step))

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        self.told.append(("dataset", name, 0))

    def artifact(self, path: Path, folder: str = "") -> None:
        self.told.append(("artifact", path.name, 0))


def test_one_member_is_the_default_and_its_story_is_the_trainings(project: Callable[..., Paths]) -> None:
    paths, notes = project(), Notes()
    found = train(paths, notes)
    assert sorted(folder_digests(paths.checkpoint)) == [
        f"members/0/{name}" for name in ("history.csv", "model.json", "weights.safetensors")]
    spec = load_member(paths.checkpoint / "members/0").spec
    assert (spec.seed, spec.val_fold, spec.warm_start) == (5, 0, "")
    written = json.loads((paths.report("train") / "metrics.json").read_text())
    assert written == found
    assert {"best_epoch", "epochs", "val_mcc", "train_pixels"} < set(found)
    (member,) = found["members"]
    assert {name: member[name] for name in found if name != "members"} == {
        name: value for name, value in found.items() if name != "members"}
    assert set(json.loads(paths.run_file.read_text())) == {"key", "environment"}
    assert [step for kind, _, step in notes.told if kind == "metrics" and step] == [1, 2]
    assert {name for kind, name, _ in notes.told if kind == "artifact"} == {
        "history.csv", "metrics.json", "model.json", "weights.safetensors"}
    assert [name for kind, name, _ in notes.told if kind == "dataset"] == ["scenes", "splits"]
    assert not any(path.is_dir() for path in paths.resume.iterdir())


def test_killed_and_run_again_the_members_have_the_same_bytes(project: Callable[..., Paths]) -> None:
    class Killed(Exception):
        pass

    class KilledInTheSecondMember(Notes):
        def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
            super().metrics(values, step)
            if sum(kind == "metrics" for kind, _, _ in self.told) == 4:
                raise Killed

    plan = {"folds": 3, "seeds": [7], "save_every_s": 0}
    whole, cut = project("whole"), project("cut")
    found = train(whole, **plan)
    with pytest.raises(Killed):
        train(cut, KilledInTheSecondMember(), **plan)
    assert not cut.checkpoint.exists()
    notes = Notes()
    assert train(cut, notes, **plan) == found
    assert folder_digests(cut.checkpoint) == folder_digests(whole.checkpoint)
    members = [values["member"] for kind, values, _ in notes.told if kind == "params" and "member" in values]
    assert members == [1, 2]
    assert [step for kind, _, step in notes.told if kind == "metrics"][:2] == [1, 2]  # what is saved is not told again
    assert not any(path.is_dir() for path in cut.resume.iterdir())

    specs = [load_member(folder).spec for folder in member_folders(whole.checkpoint)]
    assert [(spec.seed, spec.val_fold) for spec in specs] == [(7, 0), (7, 1), (7, 2)]
    assert len({spec.mean for spec in specs}) == 3
    assert [(m["number"], m["seed"], m["val_fold"]) for m in found["members"]] == [(0, 7, 0), (1, 7, 1), (2, 7, 2)]
    scores = [m["val_mcc"] for m in found["members"]]
    assert found["val_mcc"] == pytest.approx(np.mean(scores))
    assert found["spread"]["val_mcc"]["members"] == pytest.approx(np.std(scores, ddof=1))


def test_no_member_sees_its_own_val_fold_or_test_ground(project: Callable[..., Paths]) -> None:
    """Each member equals the one of a split with that val fold, in whose held-out pixels there is garbage."""
    plan = {"select": "last", "epochs": 1}
    several = project("several", buffer_m=15.0)
    train(several, folds=3, **plan)
    for fold in (1, 2):
        alone = project(f"alone{fold}", buffer_m=15.0)
        hold_out(alone, fold)
        fill_with_garbage(alone, fold)
        found = train(alone, **plan)
        one, other = several.checkpoint / f"members/{fold}", alone.checkpoint / "members/0"
        assert file_sha256(one / "weights.safetensors") == file_sha256(other / "weights.safetensors")
        spec = load_member(other).spec
        assert load_member(one).spec == spec.model_copy(update={"split": load_member(one).spec.split})
        scored = json.loads((several.report("train") / "metrics.json").read_text())["members"][fold]
        assert scored["train_pixels"] == found["train_pixels"]
        assert scored["val_mcc"] != found["val_mcc"]


def hold_out(paths: Paths, fold: int) -> None:
    """Make the split one whose certificate holds out that fold."""
    from scipy.ndimage import distance_transform_edt

    certificate = json.loads((paths.splits / "certificate.json").read_text())
    (paths.splits / "certificate.json").write_text(json.dumps({**certificate, "val_fold": fold}))
    file = paths.splits / "one/ground.tif"
    grid, folds = raster_io.describe(file).grid, raster_io.read(paths.splits / "one/fold.tif")
    held = (folds == fold) | (folds == TEST_FOLD)
    reach = distance_transform_edt(~held, sampling=10)
    ground = np.where(held, 0, np.where(reach > certificate["buffer_m"], 2, 1)).astype(np.uint8)
    raster_io.write(file, ground, grid, ["ground"])


def fill_with_garbage(paths: Paths, fold: int) -> None:
    noise, folder = np.random.default_rng(3), paths.scenes / "one"
    folds = raster_io.read(paths.splits / "one/fold.tif")
    held = (folds == fold) | (folds == TEST_FOLD)
    for name, (low, high) in {"image": (1, 10_000), "labels": (0, 3), "weight": (0, 2), "valid": (0, 2)}.items():
        info, values = raster_io.describe(folder / f"{name}.tif"), raster_io.read(folder / f"{name}.tif")
        values[held] = noise.integers(low, high, values[held].shape)
        raster_io.write(folder / f"{name}.tif", values, info.grid, [band or "" for band in info.bands])


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"folds": 2}, SplitError, "train.folds must be 1 or the number of the split's folds, 3: got 2"),
    ({"folds": 3, "monitor": "iou:water"}, ModelError, "train.monitor iou:water must be defined on the val part"),
])
def test_what_no_member_could_be_trained_by_is_refused_at_once(
    project: Callable[..., Paths], change: dict[str, Any], error: type[Exception], message: str
) -> None:
    paths, notes = project(), Notes()
    labels = raster_io.read(paths.scenes / "one/labels.tif")
    labels[(raster_io.read(paths.splits / "one/fold.tif") == 2) & (labels == 2)] = 0
    grid = raster_io.describe(paths.scenes / "one/labels.tif").grid
    raster_io.write(paths.scenes / "one/labels.tif", labels, grid, ["class"])
    with pytest.raises(error, match=message):
        train(paths, notes, **change)
    assert not [kind for kind, _, _ in notes.told if kind == "metrics"]


@pytest.mark.parametrize(("elsewhere", "change", "error", "message"), [
    ((0, 0, 1), {}, SplitError, r"labelled train pixels .* with fold 2 held out there are none of \['water'\]"),
    ((0, 1, 2), {"calibration": {"temperature": True}, "select": "last"}, ModelError,
     "train.calibration.temperature must have labelled val pixels to be fitted on: fold 2 has none"),
])
def test_a_later_fold_that_cannot_be_trained_or_judged_is_refused_before_the_first_trains(
    project: Callable[..., Paths], elsewhere: tuple[int, int, int], change: dict[str, Any], error: type[Exception],
    message: str
) -> None:
    """Water only in fold 2; or, with all classes elsewhere, no label in it."""
    paths, notes = project(), Notes()
    file = paths.scenes / "one/labels.tif"
    labels, folds = raster_io.read(file), raster_io.read(paths.splits / "one/fold.tif")
    lut = np.append(elsewhere, np.full(253, 255)).astype(np.uint8)
    labels = np.where(folds == 2, labels if elsewhere[2] == 1 else np.uint8(255), lut[labels])
    raster_io.write(file, labels, raster_io.describe(file).grid, ["class"])
    with pytest.raises(error, match=message):
        train(paths, notes, folds=3, **change)
    assert not [kind for kind, _, _ in notes.told if kind == "metrics"]


def test_a_fold_that_holds_too_little_is_told_before_training(project: Callable[..., Paths]) -> None:
    paths = project()
    file = paths.splits / "certificate.json"
    certificate = json.loads(file.read_text())
    by_fold = {fold: {"too_little_of": ["water"] if fold == "1" else []} for fold in ("0", "1", "2", "test")}
    file.write_text(json.dumps({**certificate, "by_fold": by_fold}))

    class Stop(Exception):
        pass

    class Stopped(SilentLog):
        def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
            raise Stop

    told = r"holds out every fold, .* fold 1 holds too little of \['water'\]"
    with pytest.warns(UserWarning, match=told), pytest.raises(Stop):
        train(paths, Stopped(), folds=3)
    file.write_text(json.dumps({**certificate, "support_in": "val_fold"}))
    with pytest.warns(UserWarning, match="certificate vouches for fold 0 alone"), pytest.raises(Stop):
        train(paths, Stopped(), folds=3)
    with contextlib.suppress(Stop):
        train(paths, Stopped())  # the one fold is what the certificate vouches for: no warning


def test_equal_seeds_are_refused() -> None:
    with pytest.raises(Exception, match=r"train.seeds must differ, or members would be copies: got \[1, 1\]"):
        settings(seeds=[1, 1])


def test_without_mlflow_it_trains_and_another_training_starts_from_its_run(
    project: Callable[..., Paths], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = project()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    found = run(settings(seeds=[1, 2]), paths)
    assert "`kumulus sync` sends it later" in capfd.readouterr().err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert [one.outcome for one in sync(paths)] == ["delivered"] * 3
    mlflow = client(locate(paths))
    experiment = mlflow.get_experiment_by_name("kumulus")
    parent, *children = mlflow.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert [child.data.tags["kumulus.seed"] for child in children] == ["1", "2"]
    assert parent.data.metrics["val_mcc"] == pytest.approx(found["val_mcc"])
    assert parent.data.metrics["val_mcc.sd_seeds"] == pytest.approx(found["spread"]["val_mcc"]["seeds"])
    for child, member in zip(children, found["members"], strict=True):
        history = mlflow.get_metric_history(child.info.run_id, "val_mcc")
        assert [m.step for m in history] == [1, 2]
        assert history[member["best_epoch"] - 1].value == pytest.approx(member["val_mcc"])

    key, before = json.loads(paths.run_file.read_text())["key"], paths.checkpoint / "members/1/weights.safetensors"
    digest = file_sha256(before)
    start = {"uri": f"runs:/{children[1].info.run_id}", "sha256": digest}
    with pytest.raises(ModelError, match=f"while those of runs:/.* have {digest}"):
        train(paths, warm_start={**start, "sha256": ""})
    weights = load_member(before.parent).state_dict()
    train(paths, warm_start=start, optimizer={"lr": 1e-12}, schedule={"warmup_epochs": 0}, epochs=1)
    begun = load_member(paths.checkpoint / "members/0")
    assert begun.spec.warm_start == digest
    assert all(torch.allclose(value, weights[name], atol=1e-6) for name, value in begun.named_parameters())
    told = json.loads(paths.run_file.read_text())["warm_start"]
    assert {name: told[name] for name in ("uri", "sha256", "run_key")} == {**start, "run_key": key}
    assert told["ancestry"] == [{**start, "run_key": key, "statement": None}]  # it was never exported


def test_two_processes_walk_through_the_members_together(project: Callable[..., Paths], tmp_path: Path) -> None:
    paths = project()
    params = settings(folds=3, devices=2, epochs=1)
    with paths.params_file.open("w", encoding="utf-8") as file:
        YAML().dump(params.raw, file)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-m", "stages.train"], cwd=paths.root, text=True, capture_output=True,
                          check=False, timeout=300, env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1",
                                                         "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line for line in done.stderr.splitlines() if line.startswith("train: member")] == [
        f"train: member {i + 1} of 3 (seed 5, val fold {i}) trains" for i in range(3)]
    assert [load_member(folder).spec.val_fold for folder in member_folders(paths.checkpoint)] == [0, 1, 2]
    found = json.loads((paths.report("train") / "metrics.json").read_text())
    assert [member["epochs"] for member in found["members"]] == [1, 1, 1]
    assert len(list(paths.journal.glob("*-member-*"))) == 3  # of one rank only
    assert [line["stage"] for line in computations(paths)] == ["train"]  # once, too
    assert json.loads((paths.report("train") / "environment.json").read_text())["world_size"] == 2


def test_what_the_main_process_does_alone_is_done_where_the_others_hear_of_its_failing(
        project: Callable[..., Paths], monkeypatch: pytest.MonkeyPatch) -> None:
    depth, seen, of_first = [0], dict[str, set[bool]](), Ranks.of_first

    def deeper(ranks: Ranks, compute: Callable[[], Any]) -> Any:
        depth[0] += 1
        try:
            return of_first(ranks, compute)
        finally:
            depth[0] -= 1

    def watch(owner: Any, name: str) -> None:
        whole = getattr(owner, name)

        def watched(*args: Any) -> Any:
            seen.setdefault(name, set()).add(depth[0] > 0)
            return whole(*args)

        monkeypatch.setattr(owner, name, watched)

    monkeypatch.setattr(Ranks, "of_first", deeper)
    for owner, name in ((members, "staged_folder"), (members, "save_member"), (members, "collect"), (Notes, "artifact"),
                        (judge.MemberJudge, "finish"), (resume, "open_resume")):
        watch(owner, name)
    train(project(), Notes(), epochs=1)
    assert seen == {name: {True} for name in ("staged_folder", "save_member", "collect", "artifact", "finish",
                                              "open_resume")}
