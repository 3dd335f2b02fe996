"""params.yaml by its values: comments, order and spelled-out defaults do not matter.

The values are on record in provenance.json, whose digest the file carries. The workspace's params.yaml is held against
them stage by stage, as dvc.lock records what each stage was run with.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.digests import canonical_sha256
from pipeline.lineage.case import Case
from pipeline.lineage.check_files import WORKSPACE
from pipeline.lineage.check_lock import LockClaims
from pipeline.lineage.commits import params_judge
from pipeline.lineage.dvc_store import LockedStage
from pipeline.lineage.hashing import Digests
from pipeline.lineage.values import contained
from pipeline.lineage.verdicts import Link, Verdict
from pipeline.params.dotted import value_at
from pipeline.tracking.statement import Statement

PARAMS = "params.yaml"


def params_links(case: Case, stated: Statement, claims: LockClaims) -> Iterator[Link]:
    """The values on record wherever they are: provenance.json, the workspace, git's history."""
    links = [*_in_provenance(case, stated), *_in_workspace(case, stated, claims)]
    if not any(link.verdict is Verdict.VERIFIED for link in links):
        links += _in_history(case, stated)
    yield from links
    if not any(link.verdict in (Verdict.VERIFIED, Verdict.CONTRADICTED) for link in links):
        yield _link(stated, "", Verdict.ABSENT, "", f"{PARAMS} with the recorded values must be somewhere to be "
                    "checked: neither provenance.json nor the workspace nor git has them; run this in the repository "
                    "that made it")


def _in_provenance(case: Case, stated: Statement) -> Iterator[Link]:
    if case.provenance is None:
        return
    found = canonical_sha256(case.provenance.get("params", {}))
    if found == canonical_sha256(stated.params):
        yield _link(stated, "provenance.json", Verdict.VERIFIED, found, "provenance.json has the recorded values")


def _in_workspace(case: Case, stated: Statement, claims: LockClaims) -> Iterator[Link]:
    path = case.objects.root / PARAMS
    found = case.hashes.of(path)
    if found is None:
        return
    if (data := case.objects.read_file(path)) is None:
        why = case.objects.unread.get(path, f"{path} has gone meanwhile")
        yield _link(stated, WORKSPACE, Verdict.ABSENT, "", why, counts=False)
        return
    text = data.decode("utf-8", errors="replace")
    if params_judge(stated.params)(text) or _as_locked(_parsed(text), case, stated, claims):
        yield _link(stated, WORKSPACE, Verdict.VERIFIED, canonical_sha256(stated.params), f"{PARAMS} has the recorded "
                    "values")
    elif changed := _contradicted(text, found, case, stated, claims):
        yield _link(stated, WORKSPACE, Verdict.CONTRADICTED, found.sha256,
                    f"{PARAMS} must have the values that dvc.lock names as those of this build: {changed}; take the "
                    "change back (`git checkout params.yaml`), or `dvc repro` to build with it")
    elif trouble := case.objects.git.trouble:
        yield _link(stated, WORKSPACE, Verdict.ABSENT, found.sha256, f"{PARAMS} has other values, and whether they "
                    f"were committed since cannot be told, as git does not answer: {trouble}")
    else:
        yield _link(stated, WORKSPACE, Verdict.MOVED_ON, found.sha256, f"{PARAMS} has other values by now, and "
                    "dvc.lock or git is about those")


def _as_locked(raw: Any, case: Case, stated: Statement, claims: LockClaims) -> bool:
    """Whether dvc.lock says that this build was exported with just these values, spelled as they are.

    That holds after the schema has changed too, when today's defaults are no longer those on record.
    """
    stage = case.objects.lock.stages.get("export", LockedStage())  # which may have another name there
    locked = stage.params.get(PARAMS, {}) if claims.stands_for("export") else {}
    return bool(locked) and all(value_at(raw, key) == value and contained(value, value_at(stated.params, key))
                                for key, value in locked.items())


def _contradicted(text: str, found: Digests, case: Case, stated: Statement, claims: LockClaims) -> str:
    """What differs from what dvc.lock records for the stages that made this build; "" where nothing does."""
    raw = _parsed(text)
    for name, stage in case.objects.lock.stages.items():
        for key, recorded in stage.params.get(PARAMS, {}).items():
            now = value_at(raw, key)
            if now == recorded or not claims.stands_for(name) or not contained(recorded, value_at(stated.params, key)):
                continue
            if claims.committed(PARAMS, found):
                return ""
            if raw is None:
                return "the file cannot be read"
            path, old, new = first_difference(key, recorded, now)
            return f"{path} is {new!r}, and stage {name} was run with {old!r}"
    return ""


def _in_history(case: Case, stated: Statement) -> Iterator[Link]:
    is_recorded = params_judge(stated.params)
    for held in case.objects.git.versions(PARAMS):
        if is_recorded(held.data.decode("utf-8", errors="replace")):
            yield _link(stated, f"git, {held.where}", Verdict.VERIFIED, canonical_sha256(stated.params),
                        f"{PARAMS} has the recorded values")
            return


def first_difference(key: str, old: Any, new: Any) -> tuple[str, Any, Any]:
    """The first dotted key below `key` where two values differ, and both."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                return first_difference(f"{key}.{name}", old.get(name), new.get(name))
    return key, old, new


def _parsed(text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return None


def _link(stated: Statement, place: str, verdict: Verdict, found: str, message: str, counts: bool = True) -> Link:
    return Link("params", PARAMS, place, verdict, canonical_sha256(stated.params), found, message, counts)
