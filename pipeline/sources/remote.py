"""Bring scenes or labels that come over a network into data/raw, and the rest from the user's files."""

from contextlib import ExitStack
from pathlib import Path

from pipeline.params.acquire import AcquireParams
from pipeline.params.task import Task
from pipeline.sources.catalog import Asset, Catalog
from pipeline.sources.downloads import kept_downloads
from pipeline.sources.local.labels import read_labels
from pipeline.sources.local.write import acquire_labels, acquire_reference, acquire_scenes, scene_grids


def write_remote(params: AcquireParams, task: Task, root: Path, out: Path, downloads: Path) -> Catalog:
    """Write scenes/, labels.gpkg and reference/ below `out`; what was downloaded is deleted when all of it has worked.

    Args:
        params: the whole section.
        task: bands and classes.
        root: what relative paths of the user's start from.
        out: the staged data/raw.
        downloads: where an interrupted run leaves what it has read.

    Raises:
        SceneError: a scene cannot be used or downloaded.
        LabelError: labels or reference cannot be used or downloaded.
    """
    given = params.local.labels
    subject, setting = f"labels {given.path}", "acquire.local.labels.crs"
    href, licence = params.href(given.path), given.licence
    assets: tuple[Asset, ...] = ()
    with ExitStack() as kept:
        if params.source == "stac":
            from pipeline.sources.stac.write import area_of, request_of, write_stac

            area = area_of(params.stac, root)
            folder = kept.enter_context(kept_downloads(downloads, request_of(params.stac, area)))
            scenes, assets = write_stac(params.stac, task, params.mixed_levels, area, out, folder)
        else:
            scenes = acquire_scenes(params, task, root, out)
        grids = scene_grids(scenes, out)
        if params.labels_from == "local":
            frame = read_labels(given, root, grids, params.coverage)
        else:
            from pipeline.sources.osm.labels import LICENCE, read_osm, request_of_osm

            folder = kept.enter_context(kept_downloads(downloads, request_of_osm(params.osm, grids)))
            frame, answers = read_osm(params.osm, grids, params.coverage, folder)
            assets += answers
            subject, setting, href, licence = "outlines of OpenStreetMap", "acquire.osm.place", params.osm.url, LICENCE
        entry = acquire_labels(frame, subject, setting, href, licence, grids, params.coverage, out)
        reference = acquire_reference(params, task, root, out, grids)
        source = params.source if params.labels_from == "local" else f"{params.source}+osm"
        return Catalog(params.coverage, source, scenes, entry, reference, assets)
