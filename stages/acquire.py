"""Stage acquire: bring scenes, labels and an independent reference into data/raw.

Reads params.yaml: task, acquire; the files that acquire.inputs lists.
Writes data/raw/: scenes/<id>.tif, labels.gpkg, reference/, catalog.json.
"""

from pathlib import Path

from pipeline.errors import ParamsError, one_line_errors
from pipeline.params.acquire import AcquireParams
from pipeline.params.load import Params, load
from pipeline.params.task import Task
from pipeline.paths import Paths, staged_folder
from pipeline.sources.catalog import Catalog, enter
from pipeline.types import RunLog


def run(params: Params, paths: Paths, log: RunLog | None = None) -> Catalog:
    """Acquire from the declared source; returns what data/raw holds."""
    acquire, task = params.section(AcquireParams), params.section(Task)
    with staged_folder(paths.raw) as out:
        if acquire.source == "local":
            from pipeline.sources.local.write import write_local

            catalog = write_local(acquire, task, paths.root, out)
        else:
            catalog = _write_synthetic(acquire, task, out)
        catalog.write(out / "catalog.json")
    if log:
        log.params(params.dump("task", "acquire"))
    return catalog


def _write_synthetic(acquire: AcquireParams, task: Task, out: Path) -> Catalog:
    from pipeline.sources.synthetic.spectra import BANDS
    from pipeline.sources.synthetic.write import CLASSES, write_scene

    if task.class_names != CLASSES or not set(task.bands) <= set(BANDS):
        raise ParamsError(f"params.yaml: task must have classes {list(CLASSES)} and bands out of {list(BANDS)} when "
                          f"acquire.source is synthetic: got {list(task.class_names)} and {list(task.bands)}; "
                          "change task, or set acquire.source to local")
    made = write_scene(out, acquire.synthetic.seed, acquire.synthetic.size_px)
    href = f"synthetic:seed={acquire.synthetic.seed},size_px={acquire.synthetic.size_px}"
    scene = enter(out, out / "scenes/synthetic.tif", href, bands=BANDS)
    labels = enter(out, out / "labels.gpkg", href, count=made["outlines"])
    return Catalog(acquire.coverage, acquire.source, (scene,), labels, enter(out, out / "reference/truth.tif", href))


def main() -> None:
    """Run the stage in the working folder."""
    with one_line_errors("acquire"):
        catalog = run(load(Paths().params_file), Paths())
        print(f"acquire: {len(catalog.scenes)} scene(s), {catalog.labels.count} label polygons, {catalog.coverage}")


if __name__ == "__main__":
    main()
