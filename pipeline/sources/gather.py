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
        case _ if params.synthetic.kind == "glacier":
            return _write_glacier(params, task, out)
        case _:
            return _write_city(params, task, out)


def _check_task(task: Task, kind: str, classes: tuple[str, ...], bands: tuple[str, ...]) -> None:
    if task.class_names != classes or not set(task.bands) <= set(bands):
        raise ParamsError(f"params.yaml: task must have classes {list(classes)} and bands out of {list(bands)} when "
                          f"acquire.source is synthetic: got {list(task.class_names)} and {list(task.bands)}; "
                          f"change task or acquire.synthetic.kind={kind}, or set acquire.source to local")


def _write_glacier(params: AcquireParams, task: Task, out: Path) -> Catalog:
    from pipeline.sources.synthetic.glacier.spectra import BANDS
    from pipeline.sources.synthetic.glacier.surface import CLASSES
    from pipeline.sources.synthetic.glacier.write import image_id, write_images

    given = params.synthetic
    _check_task(task, "glacier", CLASSES, BANDS)
    count = write_images(out, given.seed, given.images, given.size_px, given.domain)
    href = f"synthetic:kind=glacier,seed={given.seed},size_px={given.size_px},domain={given.domain}"
    scenes = tuple(enter(out, out / f"scenes/{image_id(i)}.tif", f"{href},image={i}", bands=BANDS)
                   for i in range(given.images))
    href = f"{href},images={given.images}"
    return Catalog(params.coverage, params.source, scenes, enter(out, out / "labels.gpkg", href, count=count),
                   enter(out, out / "reference/truth.tif", href))


def _write_city(params: AcquireParams, task: Task, out: Path) -> Catalog:
    from pipeline.sources.synthetic.spectra import BANDS
    from pipeline.sources.synthetic.write import CLASSES, write_scene

    _check_task(task, "city", CLASSES, BANDS)
    made = write_scene(out, params.synthetic.seed, params.synthetic.size_px)
    href = f"synthetic:seed={params.synthetic.seed},size_px={params.synthetic.size_px}"
    scene = enter(out, out / "scenes/synthetic.tif", href, bands=BANDS)
    labels = enter(out, out / "labels.gpkg", href, count=made["outlines"])
    return Catalog(params.coverage, params.source, (scene,), labels, enter(out, out / "reference/truth.tif", href))
