"""Stage export after a short training: every file, its digests and tags, and what keeps a model from leaving."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from affine import Affine
from pyproj import CRS

from pipeline.digests import folder_sha256
from pipeline.errors import IntegrityError, ParamsError
from pipeline.evaluation.part import score_part, write_tables
from pipeline.exporters import bundle, scene_maps
from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import describe, read, write
from pipeline.inference.network import NetworkPredictor
from pipeline.inference.onnx_predictor import OnnxPredictor
from pipeline.networks.members import load_member, member_folders, save_member
from pipeline.networks.segmenter import build
from pipeline.networks.spec import ModelSpec
from pipeline.params.evaluate import EvaluateParams
from pipeline.params.export import ExportParams
from pipeline.params.load import Params
from pipeline.params.network import NetworkParams
from pipeline.paths import Paths
from pipeline.tracking.statement import parse
from pipeline.types import SilentLog
from stages.export import run

BANDS, CLASSES = ("blue", "green", "red", "nir"), ("background", "town", "water")
COLORS = ("#b8b0a4", "#d1495b", "#2e86ab")


def params_of(**export: Any) -> Params:
    return Params({
        "seed": 1,
        "task": {"bands": list(BANDS), "background": "background",
                 "classes": [{"name": n, "color": c} for n, c in zip(CLASSES, COLORS, strict=True)]},
        "evaluate": {"tiles": {"size_px": 64, "overlap_px": 16}, "bootstrap": {"resamples": 100},
                     "baselines": {"boosting": False, "boosting_focal": False}},
        "export": {"registered_name": "tiny", **export}})


def make_scene(paths: Paths, scene: str, first_block: int, height: int, width: int) -> dict[str, Any]:
    """Random labels in 8 px squares that the image gives away, an invalid corner, blocks of 32 px in four folds."""
    rng = np.random.default_rng(first_block)
    grid = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700_000, 0, -10, 9_310_000), height, width)
    labels = rng.integers(0, 3, (height // 8, width // 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    image = (1000 + 400.0 * labels[..., None] * np.array([1, 2, 3, -1]) + rng.normal(0, 60, (height, width, 4))).clip(1)
    labels[:4, :4] = 255
    valid = np.ones(grid.shape, dtype=np.uint8)
    valid[:20, :30] = 0
    block = np.arange(height)[:, None] // 32 * (width // 32) + np.arange(width)[None] // 32
    fold = np.array([0, 1, 2, 254], dtype=np.uint8)[block % 4]
    for file, data, bands in (("image", image.astype(np.uint16), BANDS), ("labels", labels, ["class"]),
                              ("labels_raw", labels, ["class"]), ("weight", np.ones_like(valid, np.float32), ["w"]),
                              ("valid", valid, ["valid"])):
        write(paths.scenes / scene / f"{file}.tif", data, grid, bands)
    write(paths.splits / scene / "fold.tif", fold, grid, ["fold"])
    write(paths.splits / scene / "ground.tif", np.where((fold == 1) | (fold == 2), 2, 0).astype(np.uint8), grid, ["g"])
    write(paths.splits / scene / "block.tif", (block + first_block).astype(np.int32), grid, ["block"])
    return {"grid": grid.to_dict(), "dtype": "uint16"}


def make_member(paths: Paths, drawn: int = 5, number: int = 0, **said: Any) -> None:
    spec = ModelSpec(network=NetworkParams(encoder_depth=3, decoder_channels=(16, 8, 8)), bands=BANDS, classes=CLASSES,
                     colors=COLORS, background="background", reflectance_scale=10000, mean=(1400, 1800, 2200, 600),
                     std=(330, 660, 990, 330), low=(900, 900, 900, 1), high=(2000, 2900, 3700, 1200), patch_size_px=32,
                     size_multiple=8, pixel_size_m=10, split=folder_sha256(paths.splits), **said)
    with torch.random.fork_rng():
        torch.manual_seed(drawn)
        save_member(paths.checkpoint / f"members/{number}", build(spec), "epoch,lr\n1,0.1\n")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two scenes that has come as far as evaluate."""
    paths = Paths(tmp_path_factory.mktemp("project"))
    scenes = {"one": make_scene(paths, "one", 1, 96, 128), "two": make_scene(paths, "two", 101, 64, 64)}
    (paths.scenes / "manifest.json").write_text(json.dumps({"bands": BANDS, "classes": CLASSES, "scenes": scenes}))
    (paths.splits / "certificate.json").write_text(json.dumps({
        "folds": 3, "val_fold": 0, "buffer_m": 0.0, "classes": CLASSES, "class_map": [0, 1, 2],
        "unsupported": ["water"], "shared_places": [], "block_size_m": 320.0,
        "parts": {"val": {"blocks": 4, "labelled": 3480}}}))
    paths.raw.mkdir(parents=True)
    paths.labels.mkdir()
    entry = {"id": "one", "file": "scenes/one.tif", "href": "one.tif", "sha256": "cd" * 32, "licence": "CC0",
             "time": "2020-01-01"}
    paths.catalog.write_text(json.dumps({"coverage": "sparse", "scenes": [entry], "labels": entry, "reference": None}))
    (paths.labels / "labels.gpkg").write_bytes(b"labels")
    make_member(paths)
    paths.run_file.write_text('{"key": "k1"}')
    paths.report("evaluate").mkdir(parents=True)
    write_tables(score_part(params_of(), paths, "val"), paths.report("evaluate"))
    return paths.root


@pytest.fixture
def paths(evaluated: Path, tmp_path: Path) -> Paths:
    shutil.copytree(evaluated, tmp_path / "copy")
    return Paths(tmp_path / "copy")


@pytest.fixture(scope="module")
def exported(evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    root = tmp_path_factory.mktemp("exported") / "copy"
    shutil.copytree(evaluated, root)
    run(params_of(), Paths(root), SilentLog())
    return Paths(root)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_everything_is_there_and_named_in_the_lineage(exported: Paths) -> None:
    files = contents(exported.export)
    maps = {f"maps/{s}_{kind}" for s in ("one", "two") for kind in ("class.tif", "confidence.tif", "class.qml")}
    assert set(files) == maps | {
        "model.onnx", "polygons.gpkg", "polygons.parquet", "model_card.md", "provenance.json", "lineage.json"}
    lineage = parse(json.loads(files.pop("lineage.json")))
    assert lineage.subjects == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert lineage.provenance == lineage.subjects["provenance.json"]
    assert (lineage.run, lineage.run_key, lineage.registered_model) == ({"key": "k1"}, "k1", "tiny")
    weights = exported.checkpoint / "members/0/weights.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in {r.sha256 for r in lineage.of_kind("file")}
    assert set(contents(exported.report("export"))) == {"metrics.json", "map_one.png", "map_two.png"}


def test_the_digest_is_in_every_file(exported: Paths) -> None:
    digest = hashlib.sha256((exported.export / "provenance.json").read_bytes()).hexdigest()
    for path in exported.export.glob("maps/*.tif"):
        assert describe(path).tags["KUMULUS_PROVENANCE"] == digest
    metadata = {p.key: p.value for p in onnx.load(exported.export / "model.onnx").metadata_props}
    assert metadata["kumulus.provenance"] == digest
    assert digest in (exported.export / "model_card.md").read_text()
    assert pq.read_metadata(exported.export / "polygons.parquet").metadata[b"KUMULUS_PROVENANCE"] == digest.encode()
    with sqlite3.connect(exported.export / "polygons.gpkg") as database:
        stored = [row[0] for row in database.execute("SELECT metadata FROM gpkg_metadata")]
    assert all(digest in text for text in stored)
    assert len(stored) == 2


def test_maps_follow_validity(exported: Paths) -> None:
    for scene in ("one", "two"):
        invalid = read(exported.scenes / scene / "valid.tif") == 0
        for kind in ("class", "confidence"):
            values = read(exported.export / f"maps/{scene}_{kind}.tif")
            assert ((values == 255) == invalid).all()


def test_card_says_data_scores_and_limits(exported: Paths) -> None:
    card = (exported.export / "model_card.md").read_text()
    for text in ("# tiny", "| 1 | town | #d1495b |", "| scene one | 2020-01-01 | CC0 |", "Against the refined labels",
                 "majority class", "ground outside them is unknown", "multiples of 8", "| blue | 900 | 2000 |",
                 "Too rare to be supported in every part of the split: water."):
        assert text in card, text
    metrics = json.loads((exported.report("evaluate") / "metrics.json").read_text())
    mcc = metrics["truths"]["refined"]["network"]["mcc"]
    assert f"{mcc['value']:.3f} ({mcc['low']:.3f} to {mcc['high']:.3f})" in card


def test_the_snippet_in_the_card_runs(exported: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (exported.export / "model_card.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(exported.export)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    assert namespace["classes"] == list(CLASSES)
    assert namespace["class_map"].shape == (64, 64)


def test_again_equal_bytes_but_for_the_lineage(exported: Paths, paths: Paths) -> None:
    run(params_of(), paths, SilentLog())
    first, second = contents(exported.export), contents(paths.export)
    first.pop("lineage.json"), second.pop("lineage.json")
    assert first == second
    assert contents(exported.report("export")) == contents(paths.report("export"))


def copying(exported: Paths) -> Callable[..., None]:
    """Stands for export_onnx: the finished file of the same network, without the seconds."""

    def copied(path: Path, *_: object) -> None:
        shutil.copyfile(exported.export / "model.onnx", path)

    return copied


def tamper_counts(paths: Paths) -> None:
    file = paths.report("evaluate") / "confusions.parquet"
    table = pd.read_parquet(file)
    row = table.index[(table["method"] == "network") & (table["block"] == 5)][0]
    table.loc[row, "count"] += 1
    table.to_parquet(file, index=False)


@pytest.mark.parametrize(("tamper", "export", "said"), [
    (tamper_counts, {}, "block 5 against refined has"),
    (lambda p: (p.report("evaluate") / "confusions.parquet").unlink(), {}, "confusions.parquet must be a file"),
    (lambda p: (p.report("evaluate") / "metrics.json").unlink(), {}, "metrics.json must be a file"),
    (lambda p: (p.labels / "labels.gpkg").unlink() or p.labels.rmdir(), {}, "data/labels must be a folder"),
    (lambda p: None, {"parity_tolerance": 1e-12}, "parity_tolerance=1e-12"),
    (lambda p: None, {"class_shares": {"town": {"min": 0.999}}}, r"scene one must have a share of town from 0\.999"),
])
def test_what_fails_leaves_the_last_export_alone(
    paths: Paths, exported: Paths, monkeypatch: pytest.MonkeyPatch, tamper: Callable[[Paths], object],
    export: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(bundle, "export_onnx", copying(exported))
    paths.export.mkdir(parents=True)
    (paths.export / "old").write_text("old")
    tamper(paths)
    with pytest.raises(IntegrityError, match=said):
        run(params_of(**export), paths, SilentLog())
    assert sorted(p.name for p in paths.root.joinpath("models").iterdir()) == ["checkpoint", "export", "run.json"]
    assert contents(paths.export) == {"old": b"old"}


def test_other_weights_than_evaluate_saw_are_noticed(
    paths: Paths, exported: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "export_onnx", copying(exported))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bundle, "check_parity", lambda *_: 0.0)
        _other_weights_are_noticed(paths)
    with pytest.raises(IntegrityError, match="must agree with the network"):
        run(params_of(), paths, SilentLog())


def _other_weights_are_noticed(paths: Paths) -> None:
    make_member(paths, drawn=6)
    with pytest.raises(IntegrityError, match="must reproduce evaluate's confusion matrix exactly: block"):
        run(params_of(), paths, SilentLog())


def test_bounds_of_an_unknown_class_never_start() -> None:
    with pytest.raises(ParamsError, match=r"export\.class_shares must name a class"):
        params_of(class_shares={"twon": {}})


@pytest.fixture(scope="module")
def of_folds(evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The project with a member for each fold, exported with test-time augmentation."""
    paths = Paths(tmp_path_factory.mktemp("folds") / "copy")
    shutil.copytree(evaluated, paths.root)
    for fold in range(3):
        make_member(paths, 5 + fold, fold, seed=1, val_fold=fold, temperature=1.5, warm_start="ef" * 32)
    settings = Params({**params_of(tta="d4").raw, "evaluate": {**params_of().raw["evaluate"], "tta": "d4"}})
    write_tables(score_part(settings, paths, "val"), paths.report("evaluate"))
    run(settings, paths, SilentLog())
    return paths


def test_members_of_folds_leave_as_one_model(of_folds: Paths) -> None:
    """Parity with torch, evaluate's out-of-fold counts and the finished maps have all been checked by then."""
    image = np.full((1, 4, 32, 32), 1500, dtype=np.float32)
    members = [load_member(folder) for folder in member_folders(of_folds.checkpoint)]
    predictor = OnnxPredictor(of_folds.export / "model.onnx")
    expected = NetworkPredictor(members, tta=True).probabilities(image)
    np.testing.assert_allclose(predictor.probabilities(image), expected, atol=1e-5)
    assert predictor.facts.tta == "d4"
    for scene in ("one", "two"):  # the ensemble maps test ground too
        mapped = read(of_folds.export / f"maps/{scene}_class.tif")
        assert ((mapped == 255) == (read(of_folds.scenes / scene / "valid.tif") == 0)).all()


def test_the_card_of_folds_says_whose_scores_it_has(of_folds: Paths) -> None:
    card = (of_folds.export / "model_card.md").read_text()
    for text in ("3 members, averaged, each averaged over the eight flips and turns",
                 "fine-tuned from weights of sha256", "| 1 | 1 | 1 | 1.5 | none | `efefefefefef` |",
                 "**These scores are out of fold",
                 "scored on the sealed test part alone", "| folds | MCC | 3 |", "| its members, out of fold |",
                 "| its members, out of fold, without flips and turns |", "was not calibrated again"):
        assert text in card, text
    metrics = json.loads((of_folds.report("evaluate") / "metrics.json").read_text())
    iou = metrics["truths"]["refined"]["network_tta"]["iou"]["town"]["value"]
    assert f"| town | {iou:.3f}" in card


def tamper_held_out(paths: Paths) -> None:
    make_member(paths, 99, 1, seed=1, val_fold=1, temperature=1.5, warm_start="ef" * 32)


@pytest.mark.parametrize(("tamper", "tta", "said"), [
    (tamper_counts, "none", "the members, each on the fold it held out, must reproduce evaluate's confusion matrix "
                            "exactly: block 5 against refined"),
    (tamper_held_out, "none", "the members, each on the fold it held out, must reproduce"),
    (tamper_held_out, "d4", "the members, each on the fold it held out, must reproduce"),
])
def test_other_members_than_evaluate_scored_are_noticed(
    of_folds: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tamper: Callable[[Paths], object], tta: str,
    said: str
) -> None:
    shutil.copytree(of_folds.root, tmp_path / "copy")
    monkeypatch.setattr(bundle, "export_onnx", copying(of_folds))
    monkeypatch.setattr(bundle, "check_parity", lambda *_: 0.0)
    tamper(Paths(tmp_path / "copy"))
    with pytest.raises(IntegrityError, match=said):
        run(params_of(tta=tta), Paths(tmp_path / "copy"), SilentLog())


def test_a_finished_map_that_is_not_the_ensemble_s_is_noticed(
    of_folds: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(of_folds.root, tmp_path / "copy")
    monkeypatch.setattr(bundle, "export_onnx", copying(of_folds))
    monkeypatch.setattr(bundle, "check_parity", lambda *_: 0.0)
    written = scene_maps.write_bands

    def swapped(bands: Any, *rest: Any) -> Any:
        return written(((window, probs[::-1]) for window, probs in bands), *rest)

    monkeypatch.setattr(scene_maps, "write_bands", swapped)
    with pytest.raises(IntegrityError, match="the finished maps must hold what the ensemble predicted: block"):
        run(params_of(), Paths(tmp_path / "copy"), SilentLog())


def test_what_was_not_scored_does_not_leave(paths: Paths) -> None:
    with pytest.raises(IntegrityError, match=r"export\.tta: d4 must have been scored .* set evaluate\.tta to d4 too"):
        run(params_of(tta="d4"), paths, SilentLog())


@pytest.mark.parametrize(("missing", "said"), [
    ("confusions.parquet", "confusions.parquet must hold the counts"), ("metrics.json", "metrics.json must be there")])
def test_a_bundle_needs_what_evaluate_counted(paths: Paths, missing: str, said: str) -> None:
    (paths.report("evaluate") / missing).unlink()
    settings, tiles = params_of().section(ExportParams), params_of().section(EvaluateParams).tiles
    with pytest.raises(IntegrityError, match=said):
        bundle.write_bundle(paths.export, paths, settings, tiles, "ab")
