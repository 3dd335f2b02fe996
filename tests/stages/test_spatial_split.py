import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

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


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A store of one scene, 120 x 90 px of 10 m, three classes, a nodata corner."""
    paths = Paths(tmp_path)
    folder = paths.scenes / "town"
    grid = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700_000, 0, -10, 9_310_000), 120, 90)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[::5, ::5] = 1
    labels[3::10, 2::7] = 2
    valid = np.ones(grid.shape, dtype=np.uint8)
    valid[-30:, -30:] = 0
    image = np.random.default_rng(0).integers(0, 3000, (*grid.shape, 4)).astype(np.uint16)
    write(folder / "image.tif", image, grid, ["blue", "green", "red", "nir"])
    write(folder / "labels.tif", labels, grid, ["label"], nodata=255)
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


def test_writes_split_and_report(paths: Paths) -> None:
    certificate = run(params_of(), paths)
    report = paths.report("spatial_split")
    assert set(digests(paths.splits)) == {"blocks.gpkg", "certificate.json", "town/block.tif",
                                          "town/fold.tif"}
    assert set(digests(report)) == {"blocks_town.png", "metrics.json", "prevalence.png"}
    split = Split.open(paths.splits)
    assert split.classes == tuple(CLASSES)
    assert (split.fold_map("town")[90:, 60:] == 255).all()
    assert certificate["parts"]["test"]["blocks"] == round(0.2 * 44)
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["held_out_pixels_with_train_label"] == 0
    assert metrics["parts"]["val"]["blocks"] == certificate["parts"]["val"]["blocks"]


def test_equal_seeds_give_equal_bytes_and_others_differ(paths: Paths) -> None:
    run(params_of(), paths)
    first = digests(paths.root / "data/splits") | digests(paths.report("spatial_split"))
    run(params_of(), paths)
    assert digests(paths.root / "data/splits") | digests(paths.report("spatial_split")) == first
    run(params_of(seed=2), paths)
    assert digests(paths.splits)["town/fold.tif"] != first["town/fold.tif"]


def test_figures_are_pictures(paths: Paths) -> None:
    from matplotlib.image import imread

    run(params_of(), paths)
    for name in ("blocks_town.png", "prevalence.png"):
        picture = imread(paths.report("spatial_split") / name)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.05


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


def test_the_log_receives_params_and_figures(paths: Paths) -> None:
    class Log(SilentLog):
        names: ClassVar[list[str]] = []

        def artifact(self, path: Path, folder: str = "") -> None:
            self.names.append(f"{folder}/{path.name}")

    run(params_of(), paths, Log())
    assert Log.names == ["spatial_split/blocks_town.png", "spatial_split/prevalence.png"]


def test_a_store_of_other_classes_is_refused(paths: Paths) -> None:
    with pytest.raises(SplitError, match=r"classes of task.classes \['land', 'sea'\]: got \['background'"):
        run(params_of(["land", "sea"]), paths)


def test_a_missing_store_is_one_clear_error(paths: Paths) -> None:
    shutil.rmtree(paths.scenes)
    with pytest.raises(SceneError, match="run `dvc repro rasterize`"):
        run(params_of(), paths)
