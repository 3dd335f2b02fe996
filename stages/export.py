"""export: the ONNX model, maps, polygons and card, each checked, under one statement of where they came from.

Reads data/raw, data/labels, data/scenes, data/splits, models/checkpoint, reports/evaluate, and for the record
models/run.json. Writes models/export, reports/export. Params: all (the statement holds them).
"""

from typing import Any

from pipeline.errors import one_line_errors
from pipeline.params.evaluate import EvaluateParams
from pipeline.params.export import ExportParams
from pipeline.params.load import Params, load
from pipeline.paths import Paths, staged_folder
from pipeline.types import RunLog


def run(params: Params, paths: Paths, log: RunLog | None = None) -> dict[str, Any]:
    """Write both folders and register the model; returns provenance digest, parity and class shares by scene.

    Without a `log` the export is tracked in MLflow, as a child of the training's run.
    """
    from pipeline.exporters.bundle import write_bundle
    from pipeline.reporting.export_figures import write_export_report
    from pipeline.tracking.identity import identity
    from pipeline.tracking.lineage import export_lineage, write_lineage
    from pipeline.tracking.models import register_onnx
    from pipeline.tracking.provenance import provenance, write_provenance
    from pipeline.tracking.runs import child_run

    if log is None:
        with child_run(paths, "export", identity(paths, params, "export")) as child:
            return run(params, paths, child)
    settings, tiles = params.section(ExportParams), params.section(EvaluateParams).tiles
    with staged_folder(paths.export) as folder:
        digest = write_provenance(folder / "provenance.json", provenance(params, paths))
        bundle = write_bundle(folder, paths, settings, tiles, digest)
        write_lineage(folder / "lineage.json", export_lineage(folder, digest, paths))
    summary = {"provenance": digest, "parity": bundle.parity, "shares": bundle.shares}
    with staged_folder(paths.report("export")) as folder:
        write_export_report(folder, paths.export / "maps", bundle.facts.classes, bundle.facts.colors, summary)
    log.params(params.dump("export"))
    log.tags({"kumulus.provenance": digest})
    shares = {f"export.share.{s}.{c}": v for s, by in bundle.shares.items() for c, v in by.items()}
    log.metrics({"export.parity": bundle.parity, **shares})
    texts = (paths.export / name for name in ("provenance.json", "lineage.json", "model_card.md"))
    for file in (*texts, *sorted(paths.report("export").iterdir())):
        log.artifact(file, "export")
    register_onnx(log, paths.export / "model.onnx", settings.registered_name, bundle.facts.channels,
                  bundle.facts.classes, {"kumulus.provenance": digest})
    return summary


def main() -> None:
    """Run in the working folder."""
    with one_line_errors("export"):
        run(load(Paths().params_file), Paths())


if __name__ == "__main__":
    main()
