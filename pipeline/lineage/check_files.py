"""The files on record as items to check: finished files, artifacts, the user's inputs, code, locked libraries."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pipeline.lineage.case import Case
from pipeline.lineage.check_lock import LockClaims
from pipeline.lineage.dvc_store import FOLDER
from pipeline.lineage.evidence import Item, Place, always
from pipeline.lineage.hashing import may_be_folder
from pipeline.lineage.objects import PROVENANCE, STATEMENT
from pipeline.lineage.resources import READS
from pipeline.lineage.verdicts import Link, Verdict
from pipeline.tracking.oids import folder_oid, tracked_files
from pipeline.tracking.provenance import STAGES
from pipeline.tracking.statement import Resource, Statement

WORKSPACE, CACHE = "workspace", "DVC's cache"

_KINDS_OF_CODE = ("code", "lock", "pipeline")


def subject_items(case: Case, stated: Statement, claims: LockClaims) -> dict[str, Item]:
    """{name: item} of the finished files: the target first, then provenance.json, then what else is there."""
    own, whole = case.identified.name, case.identified.kind == "statement"
    order = sorted(stated.subjects, key=lambda name: (name != own, name != PROVENANCE, name))
    nodes = {PROVENANCE: "provenance", own: "subject"}
    return {name: Item(nodes.get(name, f"subject:{name}"), name, stated.subjects[name], case.listed.get(name, ""), "",
                       tuple(_subject_places(case, name, claims)), whole or name in nodes) for name in order}


def _subject_places(case: Case, name: str, claims: LockClaims) -> Iterator[Place]:
    objects, seen, named = case.objects, set(), always("its statement names")
    candidates = [(case.identified.file, "the file", named)] if name == case.identified.name else []
    if case.folder is not None:
        candidates.append((case.folder / name, "beside the statement", named))
    candidates.append((objects.paths.export / name, WORKSPACE, claims.of_export()))
    for path, label, claim in candidates:
        if path is not None and (place := path.resolve()) not in seen:
            seen.add(place)
            own = place.is_relative_to(objects.root) and not case.identified.kind.startswith("mlflow")
            yield Place(WORKSPACE if own else label, place, claim)
    yield from _cached(case, case.listed.get(name, ""))


def artifacts(stated: Statement) -> list[Resource]:
    """The outs on record, from the last stage back to the first; within a stage what later stages read goes first."""
    order = {stage: number for number, stage in enumerate(reversed(STAGES))}
    found = stated.of_kind("artifact")
    return sorted(found, key=lambda r: (order.get(r.stages[0] if r.stages else "", len(order)), not on_the_way(r.name)))


def on_the_way(name: str) -> bool:
    """Whether an export was made of this artifact, rather than that it came about beside."""
    return name in READS["export"]


def artifact_items(case: Case, artifact: Resource, files: Iterable[Resource], claims: LockClaims) -> list[Item]:
    """The files of an out, or the out itself where it is a file."""
    inside = list(files) if artifact.md5.endswith(FOLDER) else [artifact]
    return [Item(f"{'file' if file is not artifact else 'artifact'}:{file.name}", file.name, file.sha256, file.md5, "",
                 (Place(WORKSPACE, case.objects.root / file.name, claims.of_artifact(artifact, file)),
                  *_cached(case, file.md5)), on_the_way(artifact.name)) for file in inside]


def folder_links(case: Case, artifact: Resource, files: Iterable[Resource], claims: LockClaims) -> Iterator[Link]:
    """A folder as a whole: its id is that of its files on record, DVC's list of them is whole, no file was added."""
    if not artifact.md5.endswith(FOLDER):
        return
    node, inside = f"artifact:{artifact.name}", {f.name.removeprefix(f"{artifact.name}/"): f for f in files}
    if (oid := folder_oid({name: file.md5 for name, file in inside.items()})) != artifact.md5:
        yield Link(node, artifact.name, "lineage.json", Verdict.CONTRADICTED, artifact.md5, oid,
                   f"{artifact.name} must have the id of its files on record, {oid}: lineage.json says {artifact.md5}; "
                   "take lineage.json from where it came anew")
    if (path := case.objects.dvc.cached(artifact.md5)) is not None and (found := case.hashes.of(path)) is not None:
        if found.problem:
            yield Link(node, artifact.name, CACHE, Verdict.ABSENT, artifact.md5, "",
                       f"{path} cannot be read ({found.problem})", counts=False)
        elif f"{found.md5}{FOLDER}" == artifact.md5:
            yield Link(node, artifact.name, CACHE, Verdict.VERIFIED, artifact.md5, artifact.md5,
                       f"DVC's list of the files in {artifact.name} is as recorded")
        else:
            yield Link(node, artifact.name, CACHE, Verdict.CONTRADICTED, artifact.md5, f"{found.md5}{FOLDER}",
                       f"{artifact.name} must be what DVC's cache keeps under {artifact.md5}: {path} has md5 "
                       f"{found.md5}; `dvc fetch` it from a remote, or find out who changed it")
    folder = case.objects.root / artifact.name
    names = tracked_files(folder, case.objects.root) if may_be_folder(folder) else []
    added = [name for name in names if name not in inside]
    if added and ((claimed := claims.claims(artifact)) or case.objects.lock_trouble):
        verdict = Verdict.CONTRADICTED if claimed else Verdict.MOVED_ON  # what dvc.lock does not tell, verify says
        yield Link(node, artifact.name, WORKSPACE, verdict, artifact.md5, ", ".join(added[:3]),
                   f"{artifact.name} must be the folder that dvc.lock names, of {len(inside)} files: it has "
                   f"{len(added)} more, such as {added[0]}; remove what does not belong there")


def added_link(case: Case, stated: Statement, claims: LockClaims) -> Link | None:
    """Files in models/export, or beside a statement that is the target, which the statement does not name."""
    folder = case.folder if case.identified.kind == "statement" else None
    folder = (folder or case.objects.paths.export).resolve()
    if stated.kind == "prediction" or not may_be_folder(folder):
        return None
    own = folder == case.objects.paths.export.resolve()
    walked = case.objects.root / claims.export if own else folder  # not as links lead: .dvcignore is about these names
    added = [name for name in tracked_files(walked, case.objects.root) if name not in (*stated.subjects, STATEMENT)]
    if not added or (own and not claims.claims_export and not case.objects.lock_trouble):
        return None
    place, found = WORKSPACE if own else str(folder), ", ".join(added[:3])
    if own:
        verdict = Verdict.CONTRADICTED if claims.claims_export else Verdict.MOVED_ON
        return Link("stage:export", claims.export, place, verdict, case.oid, found,
                    f"{claims.export} must hold the {len(stated.subjects)} files that its statement names: it has "
                    f"{len(added)} more, such as {added[0]}; remove what does not belong there")
    return Link("stage:export", folder.name, place, Verdict.MOVED_ON, "", found,
                f"{folder.name} has {len(added)} files more than its statement names, such as {added[0]}: nothing is "
                "known of them")


def own_statement_link(case: Case, claims: LockClaims) -> Link | None:
    """The workspace's lineage.json where another place has the one in use, and dvc.lock names that very export."""
    wanted, found = case.listed.get(STATEMENT, ""), case.hashes.of(case.objects.paths.export / STATEMENT)
    if case.rival is not None or not wanted or found is None or found.problem or found.md5 == wanted:
        return None
    if not (claimed := claims.claims_export) and not case.objects.lock_trouble:
        return None
    return Link("statement", STATEMENT, WORKSPACE, Verdict.CONTRADICTED if claimed else Verdict.MOVED_ON, wanted,
                found.md5, f"{STATEMENT} must be the one that dvc.lock names in {claims.export}, md5 {wanted}: that in "
                f"the workspace has md5 {found.md5}; `dvc checkout --force {claims.export}`")


def input_items(case: Case, stated: Statement, claims: LockClaims) -> list[Item]:
    """The user's own files that acquire read."""
    top = {r.name: r for r in stated.of_kind("input") if not r.artifact}
    configured = str(stated.params.get("acquire", {}).get("inputs", ""))
    items = []
    for file in stated.of_kind("input"):
        whole = top.get(file.artifact, file)
        if file is whole and file.md5.endswith(FOLDER):
            continue
        elsewhere = file.name.startswith("inputs:")
        path = Path(configured) / file.name.removeprefix("inputs:/") if elsewhere else Path(file.name)
        items.append(Item(f"input:{file.name}", file.name, file.sha256, file.md5, "",
                          (Place("inputs" if path.is_absolute() else WORKSPACE, case.objects.root / path,
                                 claims.of_input(whole, configured, file)), *_cached(case, file.md5)), True, True))
    return items


def code_items(case: Case, stated: Statement, claims: LockClaims) -> list[Item]:
    """Code files, requirements.lock and dvc.yaml, which git keeps."""
    return [Item(f"code:{file.name}" if file.kind == "code" else file.kind, file.name, file.sha256, "", file.git_blob,
                 (Place(WORKSPACE, case.objects.root / file.name, claims.of_code(file)),), True)
            for kind in _KINDS_OF_CODE for file in stated.of_kind(kind)]


def source_links(stated: Statement, verified: Collection[str]) -> Iterator[Link]:
    """Where the raw files came from: their bytes are those in data/raw; what a network answered is kept nowhere."""
    files = {r.name: r for r in stated.of_kind("file")}
    for source in stated.of_kind("source"):
        node, file = f"source:{source.name}", files.get(source.name)
        origin = source.uri or "unknown"
        if file is not None and file.sha256 != source.sha256:
            yield Link(node, source.name, "lineage.json", Verdict.CONTRADICTED, source.sha256, file.sha256,
                       f"source {source.name} must be the file of that name in data/raw: lineage.json gives the two "
                       "different sha256; take it from where it came anew")
        else:
            verdict = Verdict.VERIFIED if f"file:{source.name}" in verified else Verdict.ABSENT
            yield Link(node, source.name, "data/raw", verdict, source.sha256, "", f"its bytes are those of data/raw; "
                       f"catalog.json says they came from {origin}", counts=False)
    for asset in stated.of_kind("asset"):
        yield Link(f"source:{asset.name}", asset.name, "", Verdict.ABSENT, asset.sha256, "", "what the network "
                   f"answered ({asset.uri}) is not kept; its digest is on record, and what was made of it is checked",
                   counts=False)


def ancestor_items(case: Case, stated: Statement) -> list[Item]:
    """Weights that the training started from, as far as their own statements tell their id in DVC."""
    items = []
    for number, ancestor in enumerate(stated.ancestry):
        behind = ancestor.statement.of_kind("file") if ancestor.statement else ()
        md5 = next((file.md5 for file in behind if file.sha256 == ancestor.sha256), "")
        places = [Place(WORKSPACE, path, always("")) for path in _weights(case, ancestor.uri)
                  if (found := case.hashes.of(path)) is not None and found.sha256 == ancestor.sha256]
        items.append(Item(f"ancestor:{number}", f"weights {ancestor.sha256[:12]} that the training started from",
                          ancestor.sha256, md5, "", (*places[:1], *_cached(case, md5))))
    return items


def _weights(case: Case, uri: str) -> list[Path]:
    """Weights below the folder that a warm start named; none for an address of MLflow."""
    if not uri or uri.startswith(("runs:/", "models:/")):
        return []
    place = case.objects.root / uri
    return [place] if place.is_file() else sorted(place.rglob("*.safetensors")) if place.is_dir() else []


def prediction_items(case: Case, behind: Case | None, stated: Statement) -> list[Item]:
    """The scene and the model of a prediction, wherever files of their names lie.

    Args:
        case: of the prediction.
        behind: of the model's own build, where that is known.
        stated: the prediction's statement.
    """
    objects, items = case.objects, []
    for resource in stated.of_kind("model", "scene"):
        near = {(folder / resource.name).resolve(): always("") for folder in (
            case.folder, objects.root, objects.paths.raw / "scenes", objects.paths.export) if folder is not None}
        md5 = ""
        if resource.kind == "model" and behind is not None and behind.statement is not None:
            name = next((name for name, sha256 in behind.statement.subjects.items() if sha256 == resource.sha256), "")
            if name:
                near[(objects.paths.export / name).resolve()] = LockClaims(behind, behind.statement).of_export()
            md5 = behind.listed.get(name, "")
        places = [Place(WORKSPACE if path.is_relative_to(objects.root) else "beside the statement", path, claim)
                  for path, claim in near.items()]
        items.append(Item(resource.kind, resource.name, resource.sha256, md5, "", (*places, *_cached(case, md5)),
                          remedy="put it beside the map"))
    return items


def _cached(case: Case, md5: str) -> Iterator[Place]:
    if md5 and (path := case.objects.dvc.cached(md5)) is not None:
        yield Place(CACHE, path, always(f"DVC's cache keeps under {md5}"))
