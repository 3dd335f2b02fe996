"""spatial_split: randomized blocks into train folds, val and a sealed test part, with a certificate.

Reads: data/scenes. Writes: data/splits (blocks.gpkg, <id>/fold.tif, <id>/block.tif, certificate.json) and
reports/spatial_split (metrics.json, blocks_<id>.png, prevalence.png). Params: seed, task, spatial_split.
"""

from typing import Any

from pipeline.errors import SplitError, one_line_errors
from pipeline.params.load import Params, load
from pipeline.params.spatial_split import SplitParams
from pipeline.params.task import Task
from pipeline.paths import Paths, staged_folder
from pipeline.types import RunLog


def run(params: Params, paths: Paths, log: RunLog | None = None) -> dict[str, Any]:
    """Split the scene store and return the certificate.

    Raises:
        SplitError: the store was made for other classes, or no split satisfies the declared rules.
    """
    from pipeline.reporting.split_figures import write_report
    from pipeline.scenes.store import SceneStore
    from pipeline.splits.certificate import write_split
    from pipeline.splits.plan import plan_split
    from pipeline.splits.split import Split

    task, settings = params.section(Task), params.section(SplitParams)
    store = SceneStore.open(paths.scenes)
    if store.classes != task.class_names:
        raise SplitError(f"scene store {paths.scenes} must hold the classes of task.classes "
                         f"{list(task.class_names)}: got {list(store.classes)}; run `dvc repro rasterize`")
    plan = plan_split(store, settings, params.seed)
    with staged_folder(paths.splits) as folder:
        certificate = write_split(folder, store, plan, settings, params.seed)
    with staged_folder(paths.report("spatial_split")) as folder:
        colors = {c.name: c.color for c in task.classes}
        write_report(folder, store, Split.open(paths.splits), certificate, colors)
    if log:
        log.params(params.dump("seed", "spatial_split"))
        for figure in sorted(paths.report("spatial_split").glob("*.png")):
            log.artifact(figure, "spatial_split")
    return certificate


def main() -> None:
    """Run the stage in the working folder."""
    with one_line_errors("spatial_split"):
        certificate = run(load(Paths().params_file), Paths())
        sizes = (f"{name} {part['blocks']} blocks" for name, part in certificate["parts"].items())
        rare = ", ".join(certificate["unsupported"]) or "none"
        print(f"spatial_split: {', '.join(sizes)}; unsupported: {rare}")


if __name__ == "__main__":
    main()
