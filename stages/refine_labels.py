"""Stage refine_labels: clean the outlines and refine them with spectral indices, on the books.

Reads params.yaml: task, refine_labels; data/raw/.
Writes data/labels/: labels.gpkg (layers "labels" and "unrefined"), ledger.parquet, thresholds.json;
reports/refine_labels/.
"""

from typing import Any

from pipeline.errors import one_line_errors
from pipeline.params.load import Params, load
from pipeline.params.refine_labels import RefineParams
from pipeline.params.task import Task
from pipeline.paths import Paths, staged_folder, write_json
from pipeline.sources.catalog import Catalog
from pipeline.tracking.computed import recorded
from pipeline.types import RunLog


def run(params: Params, paths: Paths, log: RunLog | None = None) -> dict[str, Any]:
    """Refine the labels of every scene; returns the figures of reports/refine_labels/metrics.json."""
    from pipeline.geo.vector_io import read_vectors, write_geopackage
    from pipeline.labels.refine import refine_all
    from pipeline.reporting.label_figures import write_report

    task, catalog = params.section(Task), Catalog.open(paths.catalog)
    raw = read_vectors(paths.raw / catalog.labels.file, "labels")
    scenes = [paths.raw / scene.file for scene in catalog.scenes]
    refined = refine_all(scenes, raw, params.section(RefineParams), task.reflectance_scale)
    with staged_folder(paths.labels) as out:
        write_geopackage(out / "labels.gpkg", {"labels": refined.labels, "unrefined": raw})
        refined.ledger.write(out / "ledger.parquet")
        write_json(out / "thresholds.json", refined.thresholds)
    with staged_folder(paths.report("refine_labels")) as out:
        metrics = write_report(out, paths.raw, catalog, task, raw, refined.labels,
                               refined.ledger.table())
    if log:
        log.params(params.dump("refine_labels"))
        for figure in sorted(paths.report("refine_labels").glob("*.png")):
            log.artifact(figure, "refine_labels")
    return metrics


def main() -> None:
    """Run the stage in the working folder."""
    with one_line_errors("refine_labels"), recorded("refine_labels", Paths()):
        metrics = run(load(Paths().params_file), Paths())
        print("refine_labels: " + ", ".join(f"{n} {action}" for action, n in metrics["actions"].items()))


if __name__ == "__main__":
    main()
