"""Stage spatial_split: its files and report, equal seeds, and one clear error where it cannot split."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from pipeline.errors import SceneError, SplitError
from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.splits.split import Split
from pipeline.types import SilentLog
from stages.spatial_split import run

CLASSES = ["background", "informal_settlement", "water"]
FIGURES = ["blocks_town.png", "overview.png", "prevalence.png",
           "registration_town.png"]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A store of one scene, 120 x 90 px of 10 m from a corner of blocks of 150 m on, three classes, a nodata corner."""
    paths = Paths(tmp_path)
    folder = paths.scenes / "town"
    grid = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700_050, 0, -10, 9_310_050), 120, 90)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[::5, ::5] = 1
    labels[3::10, 2::7] = 2
    valid = np.ones(grid.shape, dtype=np.uint8)
    valid[-30:, -30:] = 0
    image = np.random.default_rng(0).integers(0, 3000, (*grid.shape, 4)).astype(np.uint16)
    write(folder / "image.tif", image, grid, ["blue", "green", "red", "nir"])
    write(folder / "labels.tif", labels, grid, ["label"], nodata=255)
    write(folder / "labels_raw.tif", labels, grid, ["label"], nodata=255)
    write(folder / "valid.tif", valid, grid, ["valid"])
    manifest = {"bands": ["blue", "green", "red", "nir"], "classes": CLASSES, "coverage": "exhaustive",
                "scenes": {"town": {"grid": grid.to_dict(), "dtype": "uint16", "crs_name": grid.crs_name}}}
    (paths.scenes / "manifest.json").write_text(json.dumps(manifest))
    return paths


def params_of(classes: list[str] | None = None, seed: int = 1, **split: Any) -> Params:
    classes = CLASSES if classes is None else classes
    return Params({
        "seed": seed,
        "task": {"bands": ["blue", "green", "red", "nir"], "background": classes[0],
                 "classes": [{"name": n, "color": "#808080"} for n in classes]},
        "spatial_split": {"block_size_m": 150, "folds": 4, "buffer_m": 25, "min_pixels": 5, **split}})


def digests(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class _Log(SilentLog):
    def __init__(self) -> None:
        self.names: list[str] = []

    def artifact(self, path: Path, folder: str = "") -> None:
        self.names.append(f"{folder}/{path.name}")


def test_writes_split_and_report(paths: Paths) -> None:
    from matplotlib.image import imread

    log = _Log()
    certificate = run(params_of(), paths, log)
    report = paths.report("spatial_split")
    assert set(digests(paths.splits)) == {"blocks.gpkg", "certificate.json", "town/block.tif",
                                          "town/fold.tif", "town/ground.tif"}
    assert {"metrics.json", *FIGURES} <= set(digests(report))
    assert {f"spatial_split/{name}" for name in FIGURES} <= set(log.names)
    split = Split.open(paths.splits)
    assert split.classes == tuple(CLASSES)
    assert (split.fold_map("town")[90:, 60:] == 255).all()
    assert certificate["parts"]["test"]["blocks"] == round(0.2 * 44)
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["held_out_pixels_with_train_label"] == metrics["held_out_pixels_seen"] == 0
    assert metrics["parts"]["val"]["blocks"] == certificate["parts"]["val"]["blocks"]
    assert metrics["least_distance_m"]["train_to_held_out"] > 25
    for name in FIGURES:
        picture = imread(report / name)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.05


@pytest.mark.filterwarnings("ignore:spatial_split looks for the same picture:UserWarning")
def test_auto_takes_the_range_of_the_residuals(paths: Paths) -> None:
    """Labels in squares of 8 px that the image tells only in every other square, so residuals hang together."""
    rng = np.random.default_rng(0)
    folder = paths.scenes / "town"
    grid = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700_000, 0, -10, 9_310_000), 240, 240)
    labels = np.kron(rng.integers(0, 3, (30, 30)), np.ones((8, 8))).astype(np.uint8)
    image = 1000 + (500.0 * labels[..., None] + rng.normal(0, 100, (*labels.shape, 4)))
    told = np.kron(rng.integers(0, 2, (30, 30)), np.ones((8, 8))) > 0
    image[told] = rng.normal(1500, 100, (int(told.sum()), 4))
    write(folder / "image.tif", image.astype(np.uint16), grid, ["blue", "green", "red", "nir"])
    write(folder / "labels.tif", labels, grid, ["label"], nodata=255)
    write(folder / "labels_raw.tif", labels, grid, ["label"], nodata=255)
    write(folder / "valid.tif", np.ones_like(labels), grid, ["valid"])
    manifest = json.loads((paths.scenes / "manifest.json").read_text())
    manifest["scenes"]["town"]["grid"] = grid.to_dict()
    (paths.scenes / "manifest.json").write_text(json.dumps(manifest))
    certificate = run(params_of(block_size_m="auto"), paths)
    assert 50 < certificate["correlation"]["range_m"] < 150  # squares of 80 m
    size, pixel = certificate["block_size_m"], grid.ground_pixel_m[1]
    assert 0 <= size - certificate["correlation"]["range_m"] < 1.01 * pixel
    assert certificate["block_px"]["town"][0] * pixel == pytest.approx(size, rel=2e-3)


def test_equal_seeds_give_equal_bytes_and_others_differ(paths: Paths) -> None:
    run(params_of(), paths)
    first = digests(paths.root / "data/splits") | digests(paths.report("spatial_split"))
    run(params_of(), paths)
    assert digests(paths.root / "data/splits") | digests(paths.report("spatial_split")) == first
    run(params_of(seed=2), paths)
    assert digests(paths.splits)["town/fold.tif"] != first["town/fold.tif"]


def test_a_failing_split_leaves_no_output(paths: Paths) -> None:
    with pytest.raises(SplitError, match=r"class water \(\d+ px"):
        run(params_of(min_pixels=60), paths)
    assert not paths.splits.exists()
    assert not list(paths.splits.parent.glob(".*"))


def test_report_only_flags_the_class(paths: Paths) -> None:
    certificate = run(params_of(min_pixels=60, rare_classes="report_only"), paths)
    assert certificate["unsupported"] == ["water"]
    assert Split.open(paths.splits).unsupported == ("water",)


def test_a_class_without_labels_is_drawn_as_absent(paths: Paths) -> None:
    manifest = json.loads((paths.scenes / "manifest.json").read_text())
    (paths.scenes / "manifest.json").write_text(json.dumps(manifest | {"classes": [*CLASSES, "snow"]}))
    certificate = run(params_of([*CLASSES, "snow"], rare_classes="report_only"), paths)
    assert certificate["unsupported"] == ["snow"]
    assert certificate["parts"]["train"]["prevalence"]["snow"] == 0


def test_a_store_of_other_classes_is_refused(paths: Paths) -> None:
    with pytest.raises(SplitError, match=r"classes of task.classes \['land', 'sea'\]: got \['background'"):
        run(params_of(["land", "sea"]), paths)


def test_a_missing_store_is_one_clear_error(paths: Paths) -> None:
    shutil.rmtree(paths.scenes)
    with pytest.raises(SceneError, match="run `dvc repro rasterize`"):
        run(params_of(), paths)
