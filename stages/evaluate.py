"""Stage evaluate: score the val part of the stitched map, network and baselines on the same pixels.

Reads data/scenes, data/splits, models/checkpoint. Writes reports/evaluate: metrics.json, confusions.parquet,
figures. Params: seed, task, evaluate. The test part stays sealed; `kumulus unseal` scores it.
"""

from typing import Any

from pipeline.errors import one_line_errors
from pipeline.params.load import Params, load
from pipeline.paths import Paths, staged_folder
from pipeline.tracking.computed import recorded
from pipeline.types import RunLog


def run(params: Params, paths: Paths, log: RunLog | None = None) -> dict[str, Any]:
    """Score val and write the report; returns metrics.json.

    Without a `log` the scores are tracked in MLflow, as a child of the training's run.
    """
    from pipeline.evaluation.gating import gate_lines, log_gates
    from pipeline.evaluation.part import score_part, write_tables
    from pipeline.evaluation.summary import flat_values
    from pipeline.reporting.evaluate_figures import draw_all
    from pipeline.reporting.train_figures import draw_curves, read_curves

    if log is None:
        from pipeline.tracking.identity import identity
        from pipeline.tracking.runs import child_run

        tags = identity(paths, params, "evaluate")
        with child_run(paths, "evaluate", tags) as child:
            for name in ("scenes", "splits"):
                child.dataset(name, tags[f"kumulus.data_{name}_sha256"], f"data/{name}", "evaluation")
            return run(params, paths, child)
    scores = score_part(params, paths, "val")
    with staged_folder(paths.report("evaluate")) as folder:
        write_tables(scores, folder)
        draw_all(scores, folder)
        draw_curves(folder / "curves.png", read_curves(paths.checkpoint))
    log.params(params.dump("evaluate"))
    for truth in scores.metrics["truths"]:
        values = flat_values(scores.metrics, truth)
        log.metrics({f"val.{truth}.{name}": value for name, value in values.items()})
    log_gates(log, scores.metrics)
    for line in gate_lines(scores.metrics):
        print(f"evaluate: {line}")
    for file in sorted(paths.report("evaluate").iterdir()):
        log.artifact(file, "evaluate")
    return scores.metrics


def main() -> None:
    """Run in the working folder."""
    with one_line_errors("evaluate"), recorded("evaluate", Paths()):
        run(load(Paths().params_file), Paths())


if __name__ == "__main__":
    main()
