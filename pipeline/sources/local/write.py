"""Bring the user's scenes, labels and reference into data/raw; each part also serves other sources."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
from tqdm import tqdm

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import describe
from pipeline.geo.vector_io import write_geopackage
from pipeline.params.acquire import AcquireParams
from pipeline.params.task import Task
from pipeline.sources.catalog import Catalog, Entry, enter
from pipeline.sources.local.labels import read_labels
from pipeline.sources.local.location import check_overlap
from pipeline.sources.local.opening import check_levels, open_scene
from pipeline.sources.local.product import Product
from pipeline.sources.local.reference import copy_reference
from pipeline.sources.local.scenes import copy_scene


def write_local(params: AcquireParams, task: Task, root: Path, out: Path) -> Catalog:
    """Copy everything `acquire.local` names below `out`; relative paths start from `root`.

    Raises:
        SceneError: a scene cannot be used.
        LabelError: labels or reference cannot be used.
    """
    products = open_scenes(params, task, root)
    grids = {product.scene.id: product.grid for product in products}
    labels = read_labels(params.local.labels, root, grids, params.coverage)
    scenes = copy_scenes(params, products, task, root, out)
    given = params.local.labels
    entry = acquire_labels(labels, f"labels {given.path}", "acquire.local.labels.crs", params.href(given.path),
                           given.licence, grids, params.coverage, out)
    return Catalog(params.coverage, params.source, scenes, entry,
                   acquire_reference(params, task, root, out, grids))


def acquire_scenes(params: AcquireParams, task: Task, root: Path, out: Path) -> tuple[Entry, ...]:
    """Copy the scenes of acquire.local to out/scenes/<id>.tif; returns their catalog entries in order.

    Raises:
        SceneError: a scene cannot be used.
    """
    return copy_scenes(params, open_scenes(params, task, root), task, root, out)


def open_scenes(params: AcquireParams, task: Task, root: Path) -> tuple[Product, ...]:
    """What the scenes of acquire.local are made of, before any pixel is read.

    Raises:
        SceneError: a scene cannot be used, or they are of different processing levels.
    """
    products = tuple(open_scene(scene, root, task.bands) for scene in params.local.scenes)
    check_levels({product.scene.id: product.level for product in products}, params.mixed_levels)
    return products


def copy_scenes(params: AcquireParams, products: tuple[Product, ...], task: Task, root: Path,
                out: Path) -> tuple[Entry, ...]:
    """Copy opened scenes to out/scenes/<id>.tif; returns their catalog entries in order.

    Raises:
        SceneError: the pixels of a scene cannot be used.
    """
    entries = []
    for product in tqdm(products, desc="scenes", unit="scene", disable=None):
        scene, file = product.scene, out / "scenes" / f"{product.scene.id}.tif"
        copy_scene(product, root, file, task.bands, task.reflectance_scale)
        entry = enter(out, file, params.href(scene.path), scene.id, scene.licence, product.time, product.names)
        offsets = tuple(layer.offset for layer in (*product.layers, *product.extras))
        entries.append(replace(entry, level=product.level, quantification=product.quantification,
                               offsets=offsets if product.quantification else ()))
    return tuple(entries)


def scene_grids(scenes: tuple[Entry, ...], out: Path) -> dict[str, Grid]:
    """Scene id -> the grid of the file that lies below `out` by now."""
    return {scene.id: describe(out / scene.file).grid for scene in scenes}


def acquire_labels(frame: gpd.GeoDataFrame, subject: str, setting: str, href: str, licence: str,
                   grids: Mapping[str, Grid], coverage: str, out: Path) -> Entry:
    """Write out/labels.gpkg from polygons of any source; returns its catalog entry.

    Args:
        frame: columns class (a task class or "ignore"), source_id and geometry, in any CRS; a later polygon lies on
            top of an earlier one.
        subject: what the labels are, for messages, such as "labels inputs/labels.gpkg".
        setting: the parameter that a wrong CRS would be corrected with.
        href: where they came from.
        licence: their licence.
        grids: scene id -> grid.
        coverage: acquire.coverage.
        out: the staged data/raw.

    Raises:
        LabelError: no polygon meets any scene.
    """
    for id_ in (i for i, n in check_overlap(frame, grids, subject, setting).items() if n == 0):
        warnings.warn(f"scene {id_} meets none of the {subject}: "
                      f"all of it will be {'background' if coverage == 'exhaustive' else 'unlabelled'}", stacklevel=2)
    write_geopackage(out / "labels.gpkg", {"labels": frame})
    return enter(out, out / "labels.gpkg", href, licence=licence, count=len(frame))


def acquire_reference(params: AcquireParams, task: Task, root: Path, out: Path,
                      grids: Mapping[str, Grid]) -> Entry | None:
    """Copy the reference of acquire.local to out/reference; returns its catalog entry, None where none is named."""
    given = params.local.reference
    if not given.path:
        return None
    (out / "reference").mkdir()
    file, count = copy_reference(given, root, out / "reference", task.class_names, grids)
    return enter(out, file, params.href(given.path), licence=given.licence, count=count)
