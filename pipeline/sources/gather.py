"""Bring everything of data/raw together: scenes, labels and a reference from the sources that params name."""

from pathlib import Path

from pipeline.errors import ParamsError
from pipeline.params.acquire import AcquireParams
from pipeline.params.task import Task
from pipeline.sources.catalog import Catalog, enter


def gather(params: AcquireParams, task: Task, root: Path, out: Path, downloads: Path) -> Catalog:
    """Write scenes/, labels.gpkg and reference/ below `out`; returns the catalog, which is not written yet.

    Args:
        params: the whole section.
        task: bands and classes.
        root: what relative paths of the user's start from.
        out: the staged data/raw.
        downloads: where interrupted downloads leave what they have.

    Raises:
        ParamsError: the embedded scene has not what the task asks for.
        SceneError: a scene cannot be used.
        LabelError: labels or reference cannot be used.
    """
    if params.is_remote:
        from pipeline.sources.remote import write_remote

        return write_remote(params, task, root, out, downloads)
    match params.source:
        case "local":
            from pipeline.sources.local.write import write_local

            return write_local(params, task, root, out)
        case _:
            return _write_synthetic(params, task, out)


def _write_synthetic(params: AcquireParams, task: Task, out: Path) -> Catalog:
    from pipeline.sources.synthetic.spectra import BANDS
    from pipeline.sources.synthetic.write import CLASSES, write_scene

    if task.class_names != CLASSES or not set(task.bands) <= set(BANDS):
        raise ParamsError(f"params.yaml: task must have classes {list(CLASSES)} and bands out of {list(BANDS)} when "
                          f"acquire.source is synthetic: got {list(task.class_names)} and {list(task.bands)}; "
                          "change task, or set acquire.source to local")
    made = write_scene(out, params.synthetic.seed, params.synthetic.size_px)
    href = f"synthetic:seed={params.synthetic.seed},size_px={params.synthetic.size_px}"
    scene = enter(out, out / "scenes/synthetic.tif", href, bands=BANDS)
    labels = enter(out, out / "labels.gpkg", href, count=made["outlines"])
    return Catalog(params.coverage, params.source, (scene,), labels, enter(out, out / "reference/truth.tif", href))
