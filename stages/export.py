"""export: the ONNX model, maps, polygons and card, each checked, under one statement of where they came from.

Reads data/raw, data/labels, data/scenes, data/splits, models/checkpoint, reports/evaluate; for the record also
models/run.json, other reports, unseal.log.jsonl. Writes models/export, reports/export. Params: all (the statement's).
"""

from typing import Any

from pipeline.errors import one_line_errors
from pipeline.params.evaluate import EvaluateParams
from pipeline.params.export import ExportParams
from pipeline.params.load import Params, load
from pipeline.paths import Paths, staged_folder
from pipeline.tracking.computed import recorded
from pipeline.types import RunLog


def run(params: Params, paths: Paths, log: RunLog | None = None) -> dict[str, Any]:
    """Write and register; returns provenance digest, parity, shares. Without `log`, a child of train's run."""
    from pipeline.exporters.bundle import write_bundle
    from pipeline.reporting.export_figures import write_export_report
    from pipeline.tracking.export_statement import export_statement, write_statement
    from pipeline.tracking.identity import identity
    from pipeline.tracking.models import register_onnx
    from pipeline.tracking.names import PROVENANCE, PROVENANCE_FILE, STATEMENT_FILE
    from pipeline.tracking.provenance import provenance, write_provenance
    from pipeline.tracking.runs import child_run

    if log is None:
        with child_run(paths, "export", identity(paths, params, "export")) as child:
            return run(params, paths, child)
    settings = params.section(ExportParams)
    with staged_folder(paths.export) as folder:
        digest = write_provenance(folder / PROVENANCE_FILE, provenance(params, paths))
        bundle = write_bundle(folder, paths, settings, params.section(EvaluateParams).tiles, digest)
        write_statement(folder / STATEMENT_FILE, export_statement(folder, digest, params, paths))
    facts, summary = bundle.facts, {"provenance": digest, "parity": bundle.parity, "shares": bundle.shares}
    with staged_folder(paths.report("export")) as folder:
        write_export_report(folder, paths.export / "maps", facts.classes, facts.colors, summary)
    log.params(params.dump("export"))
    log.tags(tags := {PROVENANCE: digest})
    shares = {f"export.share.{s}.{c}": v for s, by in bundle.shares.items() for c, v in by.items()}
    log.metrics({"export.parity": bundle.parity, **shares})
    texts = (PROVENANCE_FILE, STATEMENT_FILE, "model_card.md")
    for file in (*(paths.export / name for name in texts), *sorted(paths.report("export").iterdir())):
        log.artifact(file, "export")
    register_onnx(log, paths.export / "model.onnx", settings.registered_name, facts.channels, facts.classes, tags)
    return summary


def main() -> None:
    """Run in the working folder."""
    with one_line_errors("export"), recorded("export", Paths()):
        run(load(Paths().params_file), Paths())


if __name__ == "__main__":
    main()
