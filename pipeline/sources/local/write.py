"""Bring the user's scenes, labels and reference into data/raw."""

import warnings
from pathlib import Path

from tqdm import tqdm

from pipeline.errors import LabelError
from pipeline.geo.raster_io import describe
from pipeline.geo.vector_io import write_geopackage
from pipeline.params.acquire import AcquireParams
from pipeline.params.task import Task
from pipeline.sources.catalog import Catalog, enter
from pipeline.sources.local.crosswalk import IGNORE
from pipeline.sources.local.labels import read_polygons
from pipeline.sources.local.location import check_overlap
from pipeline.sources.local.reference import copy_reference
from pipeline.sources.local.scenes import copy_scene

_LABELS = "acquire.local.labels"


def write_local(params: AcquireParams, task: Task, root: Path, out: Path) -> Catalog:
    """Copy everything `acquire.local` names below `out`; relative paths start from `root`.

    Raises:
        SceneError: a scene cannot be used.
        LabelError: labels or reference cannot be used.
    """
    local = params.local
    labels = read_polygons(local.labels, root, _LABELS)
    if set(labels["class"]) == {IGNORE}:
        raise LabelError(f"labels {local.labels.path} must hold a class: all values are mapped to {IGNORE!r}; "
                         f"correct {_LABELS}.classes")
    scenes = []
    for scene in tqdm(local.scenes, desc="scenes", unit="scene", disable=None):
        file = out / "scenes" / f"{scene.id}.tif"
        names = copy_scene(scene, root, file, task.bands)
        scenes.append(enter(out, file, scene.path, scene.id, scene.licence, scene.time, names))
    grids = {s.id: describe(out / s.file).grid for s in scenes}
    counts = check_overlap(labels, grids, f"labels {local.labels.path}", f"{_LABELS}.crs")
    for id_ in (i for i, n in counts.items() if n == 0):
        warnings.warn(f"scene {id_} meets none of the labels of {local.labels.path}: "
                      f"all of it will be {'background' if params.coverage == 'exhaustive' else 'unlabelled'}",
                      stacklevel=2)
    write_geopackage(out / "labels.gpkg", {"labels": labels})
    entry = enter(out, out / "labels.gpkg", local.labels.path, licence=local.labels.licence, count=len(labels))
    reference = None
    if local.reference.path:
        (out / "reference").mkdir()
        file, count = copy_reference(local.reference, root, out / "reference", task.class_names, grids)
        reference = enter(out, file, local.reference.path, licence=local.reference.licence, count=count)
    return Catalog(params.coverage, params.source, tuple(scenes), entry, reference)
