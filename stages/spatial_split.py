"""spatial_split: randomized blocks into train folds, val and a sealed test part, with a certificate.

Reads: data/scenes. Writes: data/splits (blocks.gpkg, certificate.json; <id>/fold.tif, block.tif, ground.tif) and
reports/spatial_split (metrics.json, registration.json, overview.png and its panels). Params: seed, task, spatial_split.
"""

from typing import Any

from pipeline.errors import SplitError, one_line_errors
from pipeline.params.load import Params, load
from pipeline.params.spatial_split import SplitParams
from pipeline.params.task import Task
from pipeline.paths import Paths, staged_folder
from pipeline.tracking.computed import recorded
from pipeline.types import RunLog


def run(params: Params, paths: Paths, log: RunLog | None = None) -> dict[str, Any]:
    """Split the scene store and return the certificate; a SplitError where no split satisfies the declared rules."""
    from pipeline.reporting.registration_figures import write_registration
    from pipeline.reporting.split_figures import write_report
    from pipeline.scenes.store import SceneStore
    from pipeline.splits.certificate import write_split
    from pipeline.splits.correlation import measure, with_block_size
    from pipeline.splits.plan import plan_split
    from pipeline.splits.registration import measure_offsets
    from pipeline.splits.split import Split

    task, settings, store = params.section(Task), params.section(SplitParams), SceneStore.open(paths.scenes)
    if store.classes != task.class_names:
        raise SplitError(f"scene store {paths.scenes} must hold the classes of task.classes "
                         f"{list(task.class_names)}: got {list(store.classes)}; run `dvc repro rasterize`")
    correlation = measure(store, params.seed)
    settings = with_block_size(settings, correlation, store)
    plan = plan_split(store, settings, params.seed)
    with staged_folder(paths.splits) as folder:
        certificate = write_split(folder, store, plan, settings, params.seed, correlation)
    with staged_folder(paths.report("spatial_split")) as folder:
        colors, split = {c.name: c.color for c in task.classes}, Split.open(paths.splits)
        write_report(folder, store, split, certificate, colors)
        write_registration(folder, store, measure_offsets(store, split, settings.registration), settings.registration)
    if log:
        log.params(params.dump("seed", "spatial_split"))
        for figure in sorted(paths.report("spatial_split").glob("*.png")):
            log.artifact(figure, "spatial_split")
    return certificate


def main() -> None:
    """Run the stage in the working folder."""
    from pipeline.reporting.split_summary import summary_lines

    with one_line_errors("spatial_split"), recorded("spatial_split", Paths()):
        certificate = run(params := load(Paths().params_file), Paths())
        for line in summary_lines(certificate, Paths().report("spatial_split"), params.dump("refine_labels")):
            print(f"spatial_split: {line}")


if __name__ == "__main__":
    main()
