"""Another fold as the val part: the very ground that spatial_split would have written for it."""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Transformer

from pipeline.errors import IntegrityError, SplitError
from pipeline.geo.grid import Grid
from pipeline.params.spatial_split import SplitParams
from pipeline.splits.certificate import write_split
from pipeline.splits.plan import plan_split
from pipeline.splits.split import Split
from tests.unit.splits.conftest import StoreMaker, grid_of

pytestmark = pytest.mark.filterwarnings("ignore:spatial_split looks for the same picture:UserWarning",
                                        "ignore:the (val|test) part should hold about:UserWarning")

SETTINGS = SplitParams(block_size_m=40, folds=3, test_fraction=0.25, min_pixels=1, buffer_m=11, attempts=400)


def grids() -> dict[str, Grid]:
    """Two scenes that share pixels, one whose pixels lie askew to theirs in another zone, one in degrees."""
    x, y = Transformer.from_crs(32748, 32749, always_xy=True).transform(700_120, 9_309_950)
    return {"a": grid_of((22, 17)), "b": grid_of((22, 17), origin=(700_080.0, 9_309_960.0)),
            "c": Grid(CRS.from_epsg(32749).to_wkt(), Affine(10 / 3, 0, x, 0, -10 / 3, y), 30, 30),
            "d": Grid(CRS.from_epsg(4326).to_wkt(), Affine(1e-4, 0, 106.9, 0, -1e-4, -6.3), 20, 20)}


@pytest.mark.parametrize("several", [False, True])
def test_ground_of_every_fold_equals_what_spatial_split_writes(make_store: StoreMaker, tmp_path: Path,
                                                               several: bool) -> None:
    rng = np.random.default_rng(1)
    chosen = grids() if several else {"a": grids()["a"]}
    store = make_store({id_: rng.integers(0, 2, grid.shape).astype(np.uint8) for id_, grid in chosen.items()},
                       grids=chosen)
    plan = plan_split(store, SETTINGS, 7)
    written = {}
    for fold in range(3):
        folder = tmp_path / f"splits{fold}"
        folder.mkdir()
        with contextlib.suppress(IntegrityError):  # a fold may lack support, which is looked at once maps are written
            write_split(folder, store, plan, replace_fold(fold), 7)
        written[fold] = {id_: (folder / id_ / "ground.tif").read_bytes() for id_ in chosen}
    split = Split.open(tmp_path / "splits0")
    for fold in range(3):
        other = split.with_val_fold(fold, tmp_path / "scratch")
        where = other.grounds or split.folder
        assert {id_: (where / id_ / "ground.tif").read_bytes() for id_ in chosen} == written[fold]
        assert other == replace(split, val_fold=fold, grounds=other.grounds)
    assert split.with_val_fold(0, tmp_path / "scratch") is split
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == ["fold1", "fold2"]


def replace_fold(fold: int) -> SplitParams:
    return SETTINGS.model_copy(update={"val_fold": fold})


def test_what_is_held_out_moves_with_the_fold_and_is_computed_once(make_store: StoreMaker, tmp_path: Path) -> None:
    labels = np.random.default_rng(2).integers(0, 2, (24, 24)).astype(np.uint8)
    store = make_store({"s": labels})
    (tmp_path / "splits").mkdir()
    write_split(tmp_path / "splits", store, plan_split(store, SETTINGS, 7), SETTINGS, 7)
    split = Split.open(tmp_path / "splits")
    other = split.with_val_fold(1, tmp_path / "scratch")
    fold = np.asarray(split.fold_map("s"))
    assert (np.asarray(other.ground_map("s"))[(fold == 1) | (fold == 254)] == 0).all()
    assert (np.asarray(other.ground_map("s"))[fold == 0] > 0).all()
    assert (other.mask(fold, "val") == (fold == 1)).all()
    assert (np.asarray(split.ground_map("s"))[fold == 0] == 0).all()
    before = (tmp_path / "scratch/fold1/s/ground.tif").stat().st_mtime_ns
    assert split.with_val_fold(1, tmp_path / "scratch") == other
    assert (tmp_path / "scratch/fold1/s/ground.tif").stat().st_mtime_ns == before
    back = other.with_val_fold(0, tmp_path / "scratch")
    assert (np.asarray(back.ground_map("s")) == np.asarray(split.ground_map("s"))).all()


def test_a_fold_that_is_not_there_is_refused(make_store: StoreMaker, tmp_path: Path) -> None:
    store = make_store({"s": np.random.default_rng(2).integers(0, 2, (24, 24)).astype(np.uint8)})
    (tmp_path / "splits").mkdir()
    write_split(tmp_path / "splits", store, plan_split(store, SETTINGS, 7), SETTINGS, 7)
    split = Split.open(tmp_path / "splits")
    for fold in (3, -1, 254):
        with pytest.raises(SplitError, match=f"must be a fold of the split, 0 to 2: got {fold}"):
            split.with_val_fold(fold, tmp_path)
    assert split.too_little == {int(f): tuple(c["too_little_of"]) for f, c in certificate(split).items()
                                if f != "test" and c["too_little_of"]}


def certificate(split: Split) -> dict[str, dict[str, list[str]]]:
    import json

    found: dict[str, dict[str, list[str]]] = json.loads((split.folder / "certificate.json").read_text())["by_fold"]
    return found
