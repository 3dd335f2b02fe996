"""Finished mountain images: shares, heat, spectra, lakes, outlines and files are what the recipe promises."""

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from scipy import ndimage

from pipeline.errors import ParamsError
from pipeline.geo import raster_io
from pipeline.geo.vector_io import burn
from pipeline.params import recipes
from pipeline.params.acquire import AcquireParams
from pipeline.params.load import Params, parse
from pipeline.params.task import Task
from pipeline.paths import Paths
from pipeline.seeding import generator
from pipeline.sources.synthetic.glacier.domain import DOMAINS, Shares, draw_shares
from pipeline.sources.synthetic.glacier.ice import inner
from pipeline.sources.synthetic.glacier.light import Sun, incidence, lit
from pipeline.sources.synthetic.glacier.sensor import KELVIN, observe
from pipeline.sources.synthetic.glacier.strata import STRATA, strata_of
from pipeline.sources.synthetic.glacier.surface import CLASSES, DEBRIS, GLACIER, LAKE, Surface, make_surface
from pipeline.sources.synthetic.glacier.write import image_grid, write_images
from pipeline.types import SilentLog, Window

ROOT = Path(__file__).parents[3]
SEED, SIZE, IMAGES = 42, 256, (0, 2, 3)


@dataclass(frozen=True)
class Image:
    number: int
    shares: Shares
    surface: Surface
    counts: np.ndarray
    strata: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        return inner(self.surface.classes)

    def stratum(self, name: str) -> np.ndarray:
        return np.asarray(self.strata == STRATA.index(name) + 1)


def make(number: int, domain: str = "target") -> Image:
    shares = draw_shares(SEED, number)
    surface = make_surface(SEED, number, SIZE, shares, DOMAINS[domain])
    return Image(number, shares, surface, observe(SEED, number, surface, DOMAINS[domain]), strata_of(surface))


@pytest.fixture(scope="module")
def images() -> list[Image]:
    return [make(number) for number in IMAGES]


@pytest.fixture(scope="module")
def shifted() -> Image:
    return make(IMAGES[1], "shifted")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glacier")
    write_images(folder, SEED, 3, SIZE, "target")
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_an_image_has_the_shares_drawn_for_it(images: list[Image]) -> None:
    for image in images:
        ice = np.isin(image.classes, (GLACIER, DEBRIS)).mean()
        assert ice == pytest.approx(image.shares.ice, abs=0.012)
        assert (image.classes == DEBRIS).mean() == pytest.approx(image.shares.debris, abs=0.012)
        assert (image.classes == LAKE).mean() <= image.shares.lake + 4 / SIZE**2
    lakes = sum((image.classes == LAKE).sum() for image in images)
    assert lakes >= 0.5 * sum(image.shares.lake for image in images) * SIZE**2


def test_rock_cools_by_6_5_kelvin_a_kilometre(images: list[Image]) -> None:
    slopes = []
    for image in images:
        rock = image.stratum("rock") | image.stratum("loose_ground")
        rock = ndimage.binary_erosion(rock, iterations=5)
        rng = generator(SEED, "glacier", image.number, "sun")
        sun = Sun(np.radians(rng.uniform(38, 60)), np.radians(rng.uniform(115, 160)))
        height = image.surface.height
        direct = inner(ndimage.gaussian_filter(incidence(height, sun) * lit(height, sun) / np.sin(sun.elevation), 1.4))
        rows = np.column_stack([inner(height)[rock] / 1000, direct[rock], np.ones(rock.sum())])
        kelvin = image.counts[..., 4][rock] / KELVIN
        slopes.append(np.linalg.lstsq(rows, kelvin, rcond=None)[0][0])
    assert np.mean(slopes) == pytest.approx(-6.5, abs=0.7)
    assert np.ptp(slopes) < 2.5


def test_ice_does_not_pass_melting_but_for_the_blur(images: list[Image]) -> None:
    for image in images:
        ice = ndimage.binary_erosion(image.stratum("bare_ice") | image.stratum("snow_on_ice"), iterations=6)
        if ice.any():
            assert np.quantile(image.counts[..., 4][ice], 0.99) / KELVIN < 274.5


def test_snow_beside_ice_looks_like_snow_on_ice_and_debris_like_loose_ground(images: list[Image]) -> None:
    def median(name: str) -> np.ndarray:
        seen = np.concatenate([i.counts[i.stratum(name)] for i in images])
        return np.asarray(np.median(seen, axis=0)[:4] / 1e4)

    np.testing.assert_allclose(median("snow_on_rock"), median("snow_on_ice"), rtol=0.45, atol=0.03)
    np.testing.assert_allclose(median("thick_debris"), median("loose_ground"), rtol=0.35)
    assert median("bare_ice")[2] > 1.4 * median("thick_debris")[2]
    assert median("bare_ice")[3] < 0.6 * median("thick_debris")[3]


def test_debris_lies_on_the_lower_ice(images: list[Image]) -> None:
    for image in images:
        height = inner(image.surface.ice.surface - image.surface.ice.ela)
        assert np.median(height[image.classes == DEBRIS]) < np.median(height[image.classes == GLACIER])
        assert height[image.classes == DEBRIS].max() < 60


def test_lakes_are_connected_of_their_least_size_and_where_their_kind_belongs(images: list[Image]) -> None:
    for image in images:
        for lake in image.surface.lakes:
            mask = np.zeros(image.surface.height.size, dtype=bool)
            mask[lake.pixels] = True
            assert ndimage.label(mask.reshape(image.surface.height.shape))[1] == 1
            assert len(lake.pixels) >= 3
            assert np.ptp(image.surface.height.ravel()[lake.pixels]) == 0
            on_ice = image.surface.ice.mask.ravel()[lake.pixels]
            assert on_ice.all() if lake.kind == "pond" else not on_ice.any()


def test_the_shifted_domain_has_more_gain_more_snow_and_fewer_lakes(images: list[Image], shifted: Image) -> None:
    same = images[1]
    rock = same.stratum("rock") & (inner(np.maximum(same.surface.snow, shifted.surface.snow)) < 0.01)
    ratio = np.median(shifted.counts[rock][:, :4] / same.counts[rock][:, :4].astype(np.float64), axis=0)
    np.testing.assert_allclose(ratio, 1.3, rtol=0.03)
    assert shifted.counts[..., :4].max() == 11_000
    assert (shifted.stratum("snow_on_rock")).mean() > 1.3 * same.stratum("snow_on_rock").mean()
    number, count = ndimage.label(shifted.classes == LAKE)
    assert all((number == i).sum() >= 12 for i in range(1, count + 1))
    assert count < ndimage.label(same.classes == LAKE)[1]
    np.testing.assert_array_equal(shifted.surface.ice.mask, same.surface.ice.mask)


def test_equal_seeds_give_equal_bytes_and_an_image_does_not_depend_on_the_others(written: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "again", SEED, 3, SIZE, "target")
    write_images(tmp_path / "one", SEED, 1, SIZE, "target")
    write_images(tmp_path / "other", SEED + 1, 1, SIZE, "target")
    once, one = digests(written), digests(tmp_path / "one")
    assert digests(tmp_path / "again") == once
    assert one["scenes/mountain-000.tif"] == once["scenes/mountain-000.tif"]
    assert digests(tmp_path / "other")["scenes/mountain-000.tif"] != one["scenes/mountain-000.tif"]
    assert set(once) == {*(f"scenes/mountain-00{i}.tif" for i in range(3)), "labels.gpkg", "reference/truth.tif",
                         "reference/strata.tif", "reference/strata.json"}


def test_outlines_agree_with_the_truth_but_for_about_a_pixel(written: Path) -> None:
    labels = gpd.read_file(written / "labels.gpkg", layer="labels")
    assert list(dict.fromkeys(labels["class"])) == ["glacier", "debris_covered_ice", "lake"]
    assert labels["source_id"].is_unique
    assert labels.is_valid.all()
    drawn, truth = [], []
    for number in range(3):
        grid = image_grid(number, SIZE)
        with raster_io.open_on_grid(written / "reference/truth.tif", grid, "nearest") as reader:
            truth.append(reader.read(Window(0, 0, SIZE, SIZE), (1,))[..., 0])
        near = labels.cx[grid.bounds[0]:grid.bounds[2], grid.bounds[1]:grid.bounds[3]]
        drawn.append(burn(near.geometry.tolist(), [CLASSES.index(name) for name in near["class"]], grid, 0))
    found, known = np.stack(drawn), np.stack(truth)
    assert set(np.unique(known)) <= set(range(4))
    for class_id, least in ((GLACIER, 0.85), (DEBRIS, 0.65)):
        both = ((found == class_id) & (known == class_id)).sum()
        either = ((found == class_id) | (known == class_id)).sum()
        assert least < both / either < 0.99
    far = ndimage.distance_transform_edt(known[0] != GLACIER)
    assert np.quantile(far[found[0] == GLACIER], 0.99) < 4


def parsed(recipe: str, **synthetic: object) -> Params:
    text, _ = recipes.overlay((ROOT / "params.yaml").read_text(encoding="utf-8"),
                              (ROOT / f"recipes/{recipe}.yaml").read_text(encoding="utf-8"))
    if synthetic:
        text, _ = recipes.overlay(text, json.dumps({"acquire": {"synthetic": synthetic}}))
    return parse(text)


def test_recipes_are_valid_without_a_warning_and_lead_to_each_other() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        glacier, pretrain = parsed("glacier"), parsed("glacier-pretrain")
    assert glacier.section(Task).class_names == CLASSES
    assert glacier.section(Task) == pretrain.section(Task)
    before = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for name in ("glacier-pretrain", "glacier"):
        before, _ = recipes.overlay(before, (ROOT / f"recipes/{name}.yaml").read_text(encoding="utf-8"))
    assert parse(before).dump() == glacier.dump()


def test_the_stage_writes_a_catalog_of_all_images(tmp_path: Path) -> None:
    from stages import acquire

    params = parsed("glacier", size_px=SIZE, images=2)
    catalog = acquire.run(params, Paths(tmp_path), SilentLog())
    assert [scene.id for scene in catalog.scenes] == ["mountain-000", "mountain-001"]
    assert catalog.scenes[1].href == "synthetic:kind=glacier,seed=42,size_px=256,domain=target,image=1"
    assert catalog.scenes[0].bands == ("blue", "green", "red", "swir", "thermal")
    assert catalog.reference is not None
    assert catalog.reference.file == "reference/truth.tif"
    assert catalog.labels.count > 5
    info = raster_io.describe(tmp_path / "data/raw/scenes/mountain-001.tif")
    assert (info.grid.transform, info.grid.shape) == (image_grid(1, SIZE).transform, (SIZE, SIZE))
    assert info.grid.crs_name == "EPSG:32643"


def test_the_citys_task_is_refused_for_mountains(tmp_path: Path) -> None:
    from pipeline.sources.gather import gather

    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    city = parse(text).section(Task)
    mountains = AcquireParams.model_validate({"synthetic": {"kind": "glacier"}})
    with pytest.raises(ParamsError, match=r"acquire.source is synthetic: got .*informal_settlement.*kind=glacier"):
        gather(mountains, city, tmp_path, tmp_path, tmp_path)
