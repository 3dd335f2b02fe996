"""Whether lineage.json is what was written, and what the file, its tag and provenance.json say agree with it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.lineage.case import Case
from pipeline.lineage.evidence import Item
from pipeline.lineage.objects import STATEMENT
from pipeline.lineage.verdicts import Link, Verdict
from pipeline.tracking.statement import Statement

#: Folder in provenance.json -> artifact.
_FOLDERS = {"raw": "data/raw", "labels": "data/labels", "scenes": "data/scenes", "splits": "data/splits",
            "checkpoint": "models/checkpoint"}

#: What carries the digest of provenance.json in itself.
_TAGGED = ("onnx", "geotiff", "geopackage", "geoparquet", "card", "mlflow_model", "mlflow_run")


def statement_links(case: Case) -> Iterator[Link]:
    """lineage.json: DVC's record has its very bytes, and provenance.json, whose digest the file carries, agrees."""
    yield _statement_link(case)
    if case.statement is None or case.statement.kind == "prediction":
        return
    if case.provenance is None or case.rival is not None:
        return
    if problem := disagreement(case.statement, case.provenance):
        yield _of_statement(case, Verdict.CONTRADICTED, "", f"{STATEMENT} must say what provenance.json says, whose "
                            f"digest the file carries: {problem}; take it from where it came anew")


def _statement_link(case: Case) -> Link:
    beside = case.beside
    if case.statement is None and beside is None:
        return _of_statement(case, Verdict.ABSENT, "", f"{STATEMENT} must be here for the rest to be checked: no place "
                             "looked at has it; put the folder models/export beside the file, or run this in a clone "
                             "of the repository that made it")
    if case.record is not None:
        return _of_statement(case, Verdict.VERIFIED, case.record.files[STATEMENT],
                             f"{STATEMENT} is what DVC has on record ({case.record.where})")
    if case.rival is not None and beside is not None:
        expected = case.rival.files.get(STATEMENT, "")
        return _of_statement(case, Verdict.CONTRADICTED, beside.md5,
                             f"{STATEMENT} must be the one that DVC has on record ({case.rival.where}, md5 "
                             f"{expected}): {beside.path} has md5 {beside.md5}; take it from where it came anew (`dvc "
                             "checkout --force models/export` in a repository whose cache is whole)", expected)
    if beside is not None and beside.statement is None:
        return _of_statement(case, Verdict.CONTRADICTED, beside.md5, f"{STATEMENT} must be a statement: {beside.path} "
                             "is damaged; take it from where it came anew")
    if case.statement is not None and case.statement.kind == "prediction":
        return _of_statement(case, Verdict.VERIFIED, beside.md5 if beside else "",
                             "the prediction's lineage is whole; nobody else keeps its digest, so that only what it "
                             "says of files can be checked (signed, it says who vouches for it)")
    return _of_statement(case, Verdict.ABSENT, beside.md5 if beside else "",
                         f"{STATEMENT} must be on record in DVC to be relied on: no dvc.lock in this repository's "
                         "history and no cache or remote here lists it; run this in a clone of the repository that "
                         "made it")


def _of_statement(case: Case, verdict: Verdict, found: str, message: str, expected: str = "") -> Link:
    place = str(case.beside.path) if case.beside else case.place
    expected = expected or (found if verdict is Verdict.VERIFIED else "")
    return Link("statement", STATEMENT, place, verdict, expected, found, message)


def tag_link(case: Case) -> Link | None:
    """The digest of provenance.json that the file carries, beside what the statement names; None without either."""
    claimed = case.identified.provenance
    if case.statement is None or case.identified.kind not in _TAGGED or not (claimed or case.statement.provenance):
        return None
    wanted, where = case.statement.provenance, str(case.identified.file or case.identified.target)
    if claimed == wanted:
        return Link("provenance", "the file's tag", where, Verdict.VERIFIED, wanted, claimed,
                    "the file carries the digest of this build's provenance.json")
    return Link("provenance", "the file's tag", where, Verdict.CONTRADICTED, wanted, claimed,
                f"the file must carry the digest of its build's provenance.json, {wanted or 'none'}: it carries "
                f"{claimed or 'none'}; it is of another build, or was changed")


def target_link(case: Case, items: Mapping[str, Item]) -> Link | None:
    """A target that has no item of its own: a model that only MLflow has, or a file that the build did not make."""
    identified, stated = case.identified, case.statement
    if stated is None or not identified.sha256 or identified.resource or identified.kind in ("statement", "provenance"):
        return None
    if identified.name in items and identified.file is not None:
        return None
    wanted = stated.subjects.get(identified.name, "")
    if identified.sha256 in (wanted, *stated.subjects.values()):
        return Link("subject", identified.name or identified.target, identified.target, Verdict.VERIFIED,
                    identified.sha256, identified.sha256, "the file is one that the statement names")
    return Link("subject", identified.name or identified.target, identified.target, Verdict.CONTRADICTED, wanted,
                identified.sha256, f"{identified.target} must be a file that its build finished, as it carries that "
                f"build's digest: no finished file has sha256 {identified.sha256}; it was changed after the export")


def disagreement(stated: Statement, provenance: Mapping[str, Any]) -> str:
    """The first thing in which a statement and its provenance.json differ; "" where they agree in all."""
    known = {r.name: r.sha256 for r in stated.resources}
    for folder, files in provenance.get("data", {}).get("files", {}).items():
        for path, sha256 in files.items():
            name = f"{_FOLDERS.get(folder, folder)}/{path}"
            if known.get(name, sha256) != sha256:
                return f"{name} has sha256 {sha256} there and {known[name]} here"
    for files in provenance.get("code", {}).values():
        for name, sha256 in files.items():
            if known.get(name) != sha256:
                return f"{name} has sha256 {sha256} there and {known.get(name, 'none')} here"
    locks = [r.sha256 for r in stated.of_kind("lock")]
    if locks != [provenance.get("lock")]:
        return f"requirements.lock has sha256 {provenance.get('lock')} there and {locks} here"
    if stated.kind == "export" and _plain(stated.params) != _plain(provenance.get("params")):
        return "params differ"
    return ""


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
