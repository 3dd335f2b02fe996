"""Rehash every byte behind a result, from the file back to its sources, trusting no cache and no modification time.

The order of the links is that of the chain: lineage.json, the file, its tag, provenance.json, the other finished files,
the artifacts from the last stage back to the first, the user's inputs and sources, code, params, locked libraries,
MLflow. Each file is read once; two names of one file are one reading.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pipeline.lineage import check_files, check_statement
from pipeline.lineage.case import Case, settle
from pipeline.lineage.check_lock import LockClaims
from pipeline.lineage.check_mlflow import mlflow_links
from pipeline.lineage.check_params import params_links
from pipeline.lineage.evidence import Hashes, Item, judge
from pipeline.lineage.hashing import may_be_file
from pipeline.lineage.identify import Identified
from pipeline.lineage.objects import Objects
from pipeline.lineage.verdicts import Link, Report, Verdict
from pipeline.paths import Paths
from pipeline.tracking.statement import Resource, Statement

__all__ = ["Link", "Report", "Verdict", "verify"]

#: Places that are wrong or right by what dvc.lock says of them.
_OF_LOCK = (check_files.WORKSPACE, "inputs")


def verify(identified: Identified, paths: Paths, progress: bool = True) -> Report:
    """Check each link at every place that is at hand, and name the first that does not hold.

    Args:
        identified: the target and the statement behind it.
        paths: the repository whose workspace, git, DVC and MLflow are looked into; nothing is written.
        progress: show a bar where there is a terminal.
    """
    objects, hashes = Objects(paths), Hashes(progress)
    case = settle(identified, objects, hashes)
    links = list(check_statement.statement_links(case))
    if case.statement is not None:
        chain = _prediction if case.statement.kind == "prediction" else _build
        links += chain(case, case.statement)
    if not objects.lock_is_as_read:
        links = [_unsettled(link, case) for link in links]
    if any(_is_by_lock(link) for link in links) and (trouble := objects.lock_trouble):
        links = [_unjudged(link, trouble) if _is_by_lock(link) else link for link in links]
    files, size = hashes.read_so_far
    return Report(tuple(links), files, size)


def _unsettled(link: Link, case: Case) -> Link:
    """A link after dvc.lock was written meanwhile: what it had said of the workspace says nothing any more."""
    by_lock = link.place in _OF_LOCK or (link.node == "statement" and case.rival is not None
                                         and case.rival.where == "dvc.lock")
    if link.verdict is not Verdict.CONTRADICTED or not by_lock:
        return link
    return replace(link, verdict=Verdict.ABSENT, message=f"{link.name} must be held against a dvc.lock that stays: "
                   "it was written while this ran, as `dvc repro` does; verify again when that is done")


def _is_by_lock(link: Link) -> bool:
    """Whether a link is about other bytes in the workspace, of which dvc.lock says whether they are an alarm.

    The scene of a prediction is not the workspace's: dvc.lock has no say in it.
    """
    return link.verdict is Verdict.MOVED_ON and link.place in _OF_LOCK and link.node != "scene"


def _unjudged(link: Link, trouble: str) -> Link:
    """Such a link where dvc.lock is damaged or gone: it may have named the bytes on record."""
    return replace(link, verdict=Verdict.ABSENT, counts=True, message=f"{link.name} must be held against dvc.lock: "
                   f"{trouble}; bring that back (`git checkout dvc.lock`), or remove what lies at {link.name}")


def _prediction(case: Case, stated: Statement) -> Iterator[Link]:
    """A predicted map: its own files, the scene and the model, and then the model's build."""
    yield from _finished(case, stated, LockClaims(case, stated))
    subject = next((model.sha256 for model in stated.of_kind("model")), "")
    kept = case.objects.find_statement(stated.provenance, subject) if stated.provenance else None
    behind = None
    if kept is not None:
        model = replace(case.identified, kind="onnx", file=None, sha256="", provenance=stated.provenance, name="",
                        statement=kept.statement, statement_place=kept.place, resource="")
        behind = settle(model, case.objects, case.hashes)
    known = behind.statement if behind is not None else None
    yield from check_statement.model_links(case, known, behind.place if behind is not None else "")
    items = check_files.prediction_items(case, behind, stated)
    for links in judge(items, case.objects, case.hashes).values():
        yield from links
    if behind is not None and behind.statement is not None:
        links = [*check_statement.statement_links(behind), *_build(behind, behind.statement, neighbours=False)]
        yield from (replace(link, node="statement:model") if link.node == "statement" else link for link in links)
    else:
        yield Link("provenance", "the model's lineage.json", "", Verdict.ABSENT, stated.provenance, "",
                   "the model's own lineage.json must be here for the rest to be checked: no place looked at has one "
                   f"about provenance {stated.provenance or 'at all'}; run this in the repository that made the model")


def _build(case: Case, stated: Statement, neighbours: bool = True) -> Iterator[Link]:
    """An export, from its finished files back to sources, code, params and libraries.

    Args:
        case: of the export.
        stated: its statement.
        neighbours: also look at the finished files beside the target and provenance.json.
    """
    claims = LockClaims(case, stated)
    outs = check_files.artifacts(stated)
    inside: dict[str, list[Resource]] = {}
    for file in stated.of_kind("file"):
        inside.setdefault(file.artifact, []).append(file)
    with ThreadPoolExecutor(1) as aside:  # MLflow takes seconds to answer, in which files are hashed
        answer = aside.submit(mlflow_links, case, stated)
        of_outs = {out: check_files.artifact_items(case, out, inside.get(out.name, []), claims) for out in outs}
        others = [*check_files.ancestor_items(case, stated), *check_files.input_items(case, stated, claims)]
        code = check_files.code_items(case, stated, claims)
        lists = [path for out in outs if (path := case.objects.dvc.cached(out.md5)) is not None]
        case.hashes.read([*lists, *(place.path for items in (*of_outs.values(), others, code) for item in items
                                    for place in item.places)])
        yield from _finished(case, stated, claims, neighbours)
        all_items = [*(item for items in of_outs.values() for item in items), *others, *code]
        judged = judge(all_items, case.objects, case.hashes)
        told = answer.result()
        for out, items in of_outs.items():
            for item in items:
                yield from judged[item]
            yield from check_files.folder_links(case, out, inside.get(out.name, []), claims)
        for item in others:
            yield from judged[item]
        verified = {link.node for links in judged.values() for link in links if link.verdict is Verdict.VERIFIED}
        yield from check_files.source_links(stated, verified)
        for item in code:
            if item.node.startswith("code:"):
                yield from judged[item]
        yield from params_links(case, stated, claims)
        for item in code:
            if not item.node.startswith("code:"):
                yield from judged[item]
        yield from told


def _finished(case: Case, stated: Statement, claims: LockClaims, neighbours: bool = True) -> Iterator[Link]:
    """The finished files: the target, its tag, provenance.json, then those beside it."""
    items = check_files.subject_items(case, stated, claims)
    near = [item for item in items.values() if item.counts or (neighbours and _is_near(item))]
    judged = judge(near, case.objects, case.hashes)
    own = items.get(case.identified.name)
    yield from judged.get(own, []) if own is not None else []
    for link in (check_statement.target_link(case, items), check_statement.tag_link(case)):
        if link is not None:
            yield link
    for item, links in judged.items():
        if item is not own:
            yield from links
    yield from check_statement.finished_tags(case)
    if neighbours and (added := check_files.added_link(case, stated, claims)) is not None:
        yield added
    if neighbours and (own_statement := check_files.own_statement_link(case, claims)) is not None:
        yield own_statement


def _is_near(item: Item) -> bool:
    """Whether one of the other finished files lies in a place looked at: a map does not need its neighbours."""
    return any(may_be_file(place.path) for place in item.places)
