"""Stage acquire: bring scenes, labels and an independent reference into data/raw.

Reads params.yaml: task, acquire; the files that acquire.inputs lists.
Writes data/raw/: scenes/<id>.tif, labels.gpkg, reference/, catalog.json; reports/acquire/environment.json.
"""

from pipeline.errors import one_line_errors
from pipeline.params.acquire import AcquireParams
from pipeline.params.load import Params, load
from pipeline.params.task import Task
from pipeline.paths import Paths, staged_folder
from pipeline.sources.catalog import Catalog
from pipeline.tracking.computed import recorded
from pipeline.types import RunLog


def run(params: Params, paths: Paths, log: RunLog | None = None) -> Catalog:
    """Acquire from the declared source; returns what data/raw holds."""
    from pipeline.sources.gather import gather

    with staged_folder(paths.raw) as out:
        catalog = gather(params.section(AcquireParams), params.section(Task), paths.root, out, paths.downloads)
        catalog.write(out / "catalog.json")
    if log:
        log.params(params.dump("task", "acquire"))
    return catalog


def main() -> None:
    """Run the stage in the working folder."""
    with one_line_errors("acquire"), recorded("acquire", Paths()):
        catalog = run(load(Paths().params_file), Paths())
        print(f"acquire: {len(catalog.scenes)} scene(s), {catalog.labels.count} label polygons, {catalog.coverage}")


if __name__ == "__main__":
    main()
