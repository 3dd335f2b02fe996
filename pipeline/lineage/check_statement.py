"""Whether lineage.json is what was written, and what the file, its tag and provenance.json say agree with it."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pathspec import GitIgnoreSpec

from pipeline.errors import IntegrityError
from pipeline.lineage.case import Case
from pipeline.lineage.claims import read_claims
from pipeline.lineage.dvc_store import FOLDER
from pipeline.lineage.evidence import Item
from pipeline.lineage.identify import Identified
from pipeline.lineage.objects import CACHE_ALONE, PROVENANCE, STATEMENT
from pipeline.lineage.resources import FOLDERS, READS
from pipeline.lineage.verdicts import Link, Verdict
from pipeline.tracking.statement import Resource, Statement

#: What carries the digest of provenance.json in itself.
_TAGGED = ("onnx", "geotiff", "geopackage", "geoparquet", "card", "mlflow_model", "mlflow_run")

#: Kinds of file that tell it when they are read, those of them that a prediction makes, and its model there.
_SELF, _MAPS, _MODEL = _TAGGED[:5], ("geotiff", "geopackage", "geoparquet"), "model sha256"


def statement_links(case: Case) -> Iterator[Link]:
    """lineage.json: DVC's record has its very bytes, and provenance.json, whose digest the file carries, agrees."""
    yield _statement_link(case)
    if case.statement is None:
        return
    if problem := _incomplete(case.statement):
        yield _of_statement(case, Verdict.CONTRADICTED, "", f"{STATEMENT} must name what every {case.statement.kind} "
                            f"comes from: {problem}; take it from where it came anew")
    if case.statement.kind == "prediction" or case.provenance is None or case.rival is not None:
        return
    if problem := disagreement(case.statement, case.provenance, _ignored(case)):
        yield _of_statement(case, Verdict.CONTRADICTED, "", f"{STATEMENT} must say what provenance.json says, whose "
                            f"digest the file carries: {problem}; take it from where it came anew")


def _statement_link(case: Case) -> Link:
    beside = case.beside
    if case.statement is None and beside is None:
        return _of_statement(case, Verdict.ABSENT, "", f"{STATEMENT} must be here for the rest to be checked: no place "
                             f"looked at has it{_unread(case)}; put the folder models/export beside the file, or "
                             "run this in a clone of the repository that made it")
    if case.record is not None and case.record.where == CACHE_ALONE:
        return _of_statement(case, Verdict.VERIFIED, case.record.files[STATEMENT],
                             f"{STATEMENT} is in a list that DVC's cache has, and nothing else is known of: no "
                             "dvc.lock at hand names that list, so that who can write there may have put it there")
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
                             "says of files can be checked")
    return _of_statement(case, Verdict.ABSENT, beside.md5 if beside else "",
                         f"{STATEMENT} must be on record in DVC to be relied on: no dvc.lock in this repository's "
                         f"history and no cache or remote here lists it{_unread(case)}; run this in a clone of "
                         "the repository that made it")


def _of_statement(case: Case, verdict: Verdict, found: str, message: str, expected: str = "") -> Link:
    place = str(case.beside.path) if case.beside else case.place
    expected = expected or (found if verdict is Verdict.VERIFIED else "")
    return Link("statement", STATEMENT, place, verdict, expected, found, message)


def tag_link(case: Case) -> Link | None:
    """The digest of provenance.json that the file carries, beside what the statement names; None without either.

    What the build came from carries none, whatever its format.
    """
    claimed = case.identified.provenance
    if case.statement is None or case.identified.kind not in _TAGGED or not (claimed or case.statement.provenance):
        return None
    if case.identified.resource:
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
    if stated is None or not identified.sha256 or identified.kind in ("statement", "provenance"):
        return None
    if identified.resource:
        return _resource_link(identified, stated)
    if identified.name in items and identified.file is not None:
        return None
    wanted = stated.subjects.get(identified.name, "")
    if identified.sha256 in (wanted, *stated.subjects.values()):
        return Link("subject", identified.name or identified.target, identified.target, Verdict.VERIFIED,
                    identified.sha256, identified.sha256, "the file is one that the statement names")
    return Link("subject", identified.name or identified.target, identified.target, Verdict.CONTRADICTED, wanted,
                identified.sha256, f"{identified.target} must be a file that its build finished, as it carries that "
                f"build's digest: no finished file has sha256 {identified.sha256}; it was changed after the export")


def _resource_link(identified: Identified, stated: Statement) -> Link | None:
    """A target among what the build came from: its bytes are on record, or it was found by its place alone."""
    wanted = [r.sha256 for r in stated.resources if r.name == identified.resource]
    if identified.sha256 in wanted:
        return None  # what is on record under this name has links of its own
    return Link("subject", identified.resource, str(identified.file), Verdict.ABSENT, next(iter(wanted), ""),
                identified.sha256, f"{identified.target} must be bytes that a statement names: none at hand names "
                f"sha256 {identified.sha256}; export what it became part of, or ask about the recorded version")


def model_links(case: Case, behind: Statement | None, place: str) -> Iterator[Link]:
    """The model of a prediction: the map names the same, and the build that the map says it is of finished it.

    Args:
        case: of the prediction.
        behind: the statement of the build whose provenance.json the map names; None where it is not at hand.
        place: where that is.
    """
    stated, identified = case.statement, case.identified
    models = stated.of_kind("model") if stated is not None else ()
    for model in models:
        if identified.kind in _MAPS:
            yield _model_tag(model, identified.facts.get(_MODEL, ""), "the map's tag", str(identified.file))
        if behind is not None and model.sha256 not in behind.subjects.values():
            yield Link("model", model.name, place, Verdict.CONTRADICTED, ", ".join(sorted(behind.subjects)),
                       model.sha256, f"{model.name} must be a model that the build with provenance {behind.provenance} "
                       f"finished, as the map says: no finished file has sha256 {model.sha256}; it was changed after "
                       "its export, and carries that build's tags only")


def finished_tags(case: Case) -> Iterator[Link]:
    """What the files beside a statement that is the target carry in themselves, beside what the statement names."""
    stated, folder = case.statement, case.folder
    if stated is None or folder is None or case.identified.kind != "statement":
        return
    for name in stated.subjects:
        path = folder / name
        found = case.hashes.of(path)
        claims = read_claims(path) if found is not None and not found.problem else None
        if claims is None or claims.damage or claims.kind not in _SELF or (
                claims.kind == "card" and not claims.provenance):
            continue
        node, wanted = f"subject:{name}", stated.provenance
        same = claims.provenance == wanted
        yield Link(node, f"the tag of {name}", str(path), Verdict.VERIFIED if same else Verdict.CONTRADICTED, wanted,
                   claims.provenance, f"{name} carries the digest of this build's provenance.json" if same else
                   f"{name} must carry the digest of its build's provenance.json, {wanted or 'none'}: it carries "
                   f"{claims.provenance or 'none'}; it is of another build, or the statement was changed")
        if stated.kind == "prediction" and claims.kind in _MAPS:
            for model in stated.of_kind("model"):
                yield _model_tag(model, claims.facts.get(_MODEL, ""), f"the tag of {name}", str(path))


def _model_tag(model: Resource, carried: str, name: str, place: str) -> Link:
    if carried == model.sha256:
        return Link("model", name, place, Verdict.VERIFIED, model.sha256, carried, "the map carries its model's digest")
    return Link("model", name, place, Verdict.CONTRADICTED, model.sha256, carried,
                f"{name} must be the digest of the model that its statement names, {model.sha256}: it is "
                f"{carried or 'not there'}; map or statement was changed, or is of another prediction")


def _unread(case: Case) -> str:
    return "".join(f" ({why})" for why in (*case.objects.unread.values(), case.objects.dvc.trouble) if why)


def _ignored(case: Case) -> Callable[[str], bool]:
    """Whether .dvcignore leaves a path out of what DVC tracks, and so out of lineage.json."""
    file = case.objects.root / ".dvcignore"
    data = case.objects.read_file(file) or b""
    try:
        return GitIgnoreSpec.from_lines(data.decode("utf-8", errors="replace").splitlines()).match_file
    except ValueError as error:
        raise IntegrityError(f"{file} must hold patterns as git's: {error}; mend that line") from error


def _incomplete(stated: Statement) -> str:
    """What a statement of its kind cannot do without and this one lacks; "" where it lacks nothing."""
    kinds = Counter(r.kind for r in stated.resources)
    if not stated.subjects:
        return "it names no finished file"
    folders = {r.name for r in stated.of_kind("artifact") if r.md5.endswith(FOLDER)}
    if lost := [file for file in stated.of_kind("file") if file.artifact not in folders]:
        return (f"the folder on record that holds {lost[0].name}, and it says {lost[0].artifact or 'none'}, which is "
                "no artifact with such an id in DVC")
    if stated.kind == "prediction":
        return "" if kinds["model"] == 1 and kinds["scene"] else (
            f"one model and a scene, and it names {kinds['model']} and {kinds['scene']}")
    if not stated.provenance or stated.subjects.get(PROVENANCE) != stated.provenance:
        return (f"{PROVENANCE} among its files with the digest that they carry, {stated.provenance or 'none'}, and it "
                f"names {stated.subjects.get(PROVENANCE, 'none')}")
    named = {r.name.rstrip("/") for r in stated.of_kind("artifact") if r.md5}
    if missing := [name for name in READS["export"] if name not in named]:
        return f"artifact {missing[0]} with its id in DVC, and it does not"
    if missing := [kind for kind in ("code", "lock", "pipeline") if not kinds[kind]]:
        return f"a file of kind {missing[0]}, and it does not"
    return ""


def disagreement(stated: Statement, provenance: Mapping[str, Any], ignored: Callable[[str], bool]) -> str:
    """The first thing in which a statement and its provenance.json differ; "" where they agree in all.

    Args:
        stated: the statement.
        provenance: the content of its provenance.json.
        ignored: whether DVC does not track a path; such files are in provenance.json alone.
    """
    data, known = provenance.get("data", {}), {r.name: r.sha256 for r in stated.of_kind("file")}
    recorded = {f"{FOLDERS.get(folder, (folder,))[0]}/{path}": sha256
                for folder, files in data.get("files", {}).items() for path, sha256 in files.items()}
    recorded |= {f"reports/evaluate/{name}": sha256 for name, sha256 in provenance.get("evaluate", {}).items()}
    for name, sha256 in recorded.items():
        if known.get(name) != sha256 and (name in known or not ignored(name)):
            return f"{name} has sha256 {sha256} there and {known.get(name, 'none')} here"
    sources = {(r.name, r.sha256, r.uri) for r in stated.of_kind("source")}
    for entry in sources_of(data.get("catalog", {})):
        if (source := (f"data/raw/{entry['file']}", entry["sha256"], entry.get("href", ""))) not in sources:
            return f"source {source[0]} with sha256 {source[1]}, from {source[2] or 'unknown'}, is named only there"
    code = {r.name: r.sha256 for r in stated.of_kind("code")}
    for files in provenance.get("code", {}).values():
        for name, sha256 in files.items():
            if code.get(name) != sha256:
                return f"{name} has sha256 {sha256} there and {code.get(name, 'none')} here"
    locks = [r.sha256 for r in stated.of_kind("lock")]
    if locks != [provenance.get("lock")]:
        return f"requirements.lock has sha256 {provenance.get('lock')} there and {locks} here"
    return "" if _plain(stated.params) == _plain(provenance.get("params")) else "params differ"


def sources_of(catalog: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of a catalog that are raw files of their own."""
    entries = (*catalog.get("scenes", ()), catalog.get("labels"), catalog.get("reference"))
    return [entry for entry in entries if isinstance(entry, Mapping) and "file" in entry and "sha256" in entry]


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
