"""Bring scenes of a STAC API into data/raw."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pyproj import CRS

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid
from pipeline.geo.remote import RemoteInfo
from pipeline.geo.vector_io import read_vectors
from pipeline.params.acquire_remote import StacParams
from pipeline.params.task import Task
from pipeline.sources.catalog import Asset, Entry, enter
from pipeline.sources.stac.compose import Layer, write_scene
from pipeline.sources.stac.fetch import CutOut, Fetcher
from pipeline.sources.stac.hrefs import unsigned
from pipeline.sources.stac.plan import MASK, Read, halo, padded, reads_of, source_window, target_grid, transformed
from pipeline.sources.stac.reflectance import Calibration, calibration, check_dark_pixels
from pipeline.sources.stac.search import Box, Found, check_one_level, cloud_cover, level, search
from pipeline.types import Window

if TYPE_CHECKING:
    import pystac


def area_of(params: StacParams, root: Path) -> Box:
    """The searched area: west, south, east, north in degrees.

    Raises:
        LabelError: the vector file cannot be read.
        SceneError: it is empty or has no CRS.
    """
    if params.bbox:
        west, south, east, north = params.bbox
        return west, south, east, north
    frame = read_vectors(root / params.aoi)
    if frame.empty or frame.crs is None:
        lack = "a feature" if frame.empty else "a CRS"
        raise SceneError(f"acquire.stac.aoi {params.aoi} must have {lack}: got none; use another file, or bbox")
    west, south, east, north = frame.total_bounds
    return transformed((float(west), float(south), float(east), float(north)), frame.crs, CRS.from_epsg(4326))


def request_of(params: StacParams, area: Box) -> dict[str, object]:
    """What the folder of unfinished downloads is named by; what is read of an asset has a name of its own in it."""
    return {"stac": unsigned(params.url), "collections": list(params.collections), "area": list(area)}


def write_stac(params: StacParams, task: Task, mixed_levels: bool, area: Box, out: Path,
               downloads: Path) -> tuple[tuple[Entry, ...], tuple[Asset, ...]]:
    """Search, read and write scenes to out/scenes/<id>.tif; returns their catalog entries and those of all assets.

    Args:
        params: the search.
        task: its reflectance_scale is what reflectance is multiplied by.
        mixed_levels: scenes may differ in processing level.
        area: see `area_of`.
        out: the staged data/raw.
        downloads: where an interrupted run leaves what it has read; see `kept_downloads`.

    Raises:
        SceneError: nothing fits the search, an asset cannot be read, or its metadata and pixels disagree.
    """
    found = search(params, area)
    if params.choice == "median" or not mixed_levels:
        check_one_level(found.items, params)
    scenes: Sequence[tuple[pystac.Item, ...]] = [(item,) for item in found.items]
    if params.choice == "median":
        scenes = [found.items]
        warnings.warn("acquire.stac.choice median blurs texture and moving edges, because each pixel may come from "
                      "another day; use least_cloudy where the model reads texture", stacklevel=2)
    reads = [(item, read) for items in scenes for item in items for read in reads_of(item, params)]
    with Fetcher(downloads, params) as fetcher:
        headers = fetcher.headers([read for _, read in reads])
        infos = {read: info for (_, read), info in zip(reads, headers, strict=True)}
        grids = [_grid(items[0], infos, params, area) for items in scenes]
        jobs = [(read, infos[read], _window(read, infos[read], grid, params))
                for items, grid in zip(scenes, grids, strict=True)
                for item in items for read in reads_of(item, params)]
        cut_outs = {cut_out.read: cut_out for cut_out in fetcher.cut_outs(jobs)}
    calibrations = {read: calibration(item, read, infos[read].dtype, infos[read].nodata, params)
                    for item, read in reads if read.name != MASK}
    entries = [_write(params, task, items, grid, cut_outs, calibrations, found, out)
               for items, grid in zip(scenes, grids, strict=True)]
    assets = [_asset(item, cut_outs[read], calibrations.get(read), found) for item, read in reads]
    return tuple(entries), tuple(assets)


def _grid(item: "pystac.Item", infos: Mapping[Read, RemoteInfo], params: StacParams, area: Box) -> Grid:
    bands = {read.name: infos[read] for read in reads_of(item, params) if read.name != MASK}
    return target_grid(bands, params.grid, area)


def _window(read: Read, info: RemoteInfo, grid: Grid, params: StacParams) -> Window:
    """The mask is read as far beyond the grid as it is dilated."""
    around = padded(grid, halo(grid, params.mask.dilate_m)) if read.name == MASK else grid
    return source_window(info, around, read.subject)


def _write(params: StacParams, task: Task, items: tuple["pystac.Item", ...], grid: Grid,
           cut_outs: Mapping[Read, CutOut], calibrations: Mapping[Read, Calibration], found: Found,
           out: Path) -> Entry:
    """Check and write one scene."""
    layers = []
    for item in items:
        reads = reads_of(item, params)
        bands = {read.name: (cut_outs[read], calibrations[read]) for read in reads if read.name != MASK}
        check_dark_pixels(item.id, cloud_cover(item), bands, params)
        mask = next((cut_outs[read] for read in reads if read.name == MASK), None)
        layers.append(Layer(item.id, tuple(bands.values()), mask))
    first = items[0]
    name = f"{first.collection_id or 'items'}-median" if params.choice == "median" else first.id
    id_ = re.sub(r"[^A-Za-z0-9_-]", "_", name).lstrip("_-") or "scene"
    file = out / "scenes" / f"{id_}.tif"
    if file.exists():
        raise SceneError(f"items of acquire.stac must have different ids: {name} occurs in several collections; "
                         "search one collection")
    write_scene(file, grid, tuple(params.bands), layers, task.reflectance_scale, params.grid.resampling, params.mask)
    href = item_href(first, params)
    if params.choice == "median":
        href = f"median of {len(items)} items of {unsigned(params.url)}"
    times = sorted(_time(item) for item in items)
    entry = enter(out, file, href, id_, found.licences.get(first.collection_id or "", ""),
                  times[0] if len(set(times)) == 1 else f"{times[0]}/{times[-1]}", tuple(params.bands))
    quantification, offsets = _applied(layers)
    return replace(entry, level=level(first), quantification=quantification, offsets=offsets)


def _applied(layers: Sequence[Layer]) -> tuple[float | None, tuple[float, ...]]:
    """The one quantification and the offset of each band, or None and () where bands or items differ."""
    offsets = {tuple(known.offset for _, known in layer.bands) for layer in layers}
    quantifications = {known.quantification for layer in layers for _, known in layer.bands}
    if len(offsets) > 1 or len(quantifications) > 1:
        return None, ()
    return quantifications.pop(), offsets.pop()


def item_href(item: "pystac.Item", params: StacParams) -> str:
    """The item's own address, unsigned."""
    built = f"{params.url.partition('?')[0].rstrip('/')}/collections/{item.collection_id}/items/{item.id}"
    return unsigned(item.get_self_href() or built)


def _time(item: "pystac.Item") -> str:
    """ISO 8601; the start of an item that spans a time."""
    return str(item.properties.get("datetime") or item.properties.get("start_datetime") or "")


def _asset(item: "pystac.Item", cut_out: CutOut, known: Calibration | None, found: Found) -> Asset:
    read = cut_out.read
    size = item.assets[read.key].extra_fields.get("file:size")
    note = "" if known is None else f"reflectance = (DN {known.offset:+g}) / {known.quantification:g}: {known.flags}"
    return Asset(item.id, "mask" if read.name == MASK else read.name, unsigned(read.href), cut_out.sha256,
                 int(size or 0), _time(item), found.licences.get(item.collection_id or "", ""), note)
