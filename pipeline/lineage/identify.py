"""What a file, folder, model or run of MLflow is, what it says of itself, and which statement stands behind it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.digests import file_sha256
from pipeline.errors import IntegrityError, NotKumulusError, ParamsError
from pipeline.lineage import mlflow_target
from pipeline.lineage.claims import EARLIER, Claims, read_claims
from pipeline.lineage.hashing import may_be_file
from pipeline.lineage.places import Places, Stated, shown
from pipeline.paths import Paths
from pipeline.tracking import statement as statements
from pipeline.tracking.lookup import is_run_id
from pipeline.tracking.names import PROVENANCE_FILE as _PROVENANCE
from pipeline.tracking.names import STATEMENT_FILE as _STATEMENT
from pipeline.tracking.oids import artifact_digests
from pipeline.tracking.statement import Resource, Statement

WEIGHTS = "weights.safetensors"
#: Of a target that is none, in a message.
_SHOWN = 200


@dataclass(frozen=True)
class Identified:
    """A target of trace, verify and replay, and the statement behind it as far as it is here."""

    #: As it was asked for.
    target: str
    #: onnx, geotiff, geopackage, geoparquet, checkpoint, statement, provenance, card, mlflow_model or mlflow_run;
    #: "file" for any other file that a statement names.
    kind: str
    #: Where its bytes are on this machine; None where only MLflow has them.
    file: Path | None
    #: Of the bytes of `file`, as digests.path_sha256 gives it for a folder; "" for a run.
    sha256: str
    #: Digest of provenance.json that the file itself (or a tag of MLflow) claims; "" where it claims none.
    provenance: str
    #: Its name among the statement's subjects, such as "maps/x_class.tif"; "" where it is none of them.
    name: str
    statement: Statement | None
    #: Where the statement was found, for people; "" where it was not.
    statement_place: str
    provenance_json: Mapping[str, Any] | None
    provenance_place: str
    #: What a reader should know of how it was identified, one sentence each.
    notes: tuple[str, ...] = ()
    #: What else the file says of itself, such as its classes.
    facts: Mapping[str, str] = field(default_factory=dict)
    #: Its name among what the statement's build came from, such as "models/checkpoint"; "" where it is none of it.
    resource: str = ""
    #: What would be needed to say more, one sentence each.
    missing: tuple[str, ...] = ()
    #: Of a predicted map: the statement of the export that the model is of.
    model_statement: Statement | None = None
    model_place: str = ""

    @property
    def is_prediction(self) -> bool:
        """Whether it is a map that `kumulus predict` made, which names its model by sha256."""
        return "model sha256" in self.facts or (self.statement is not None and self.statement.kind == "prediction")


def identify(target: str, paths: Paths) -> Identified:
    """Say what `target` is, and find its statement beside it, in the repository, or in its MLflow.

    Args:
        target: a file or folder that Kumulus wrote, `models:/name/version`, `models:/name@alias`, `runs:/id` or the id
            of a run.
        paths: the repository whose history, cache and MLflow are searched.

    Raises:
        ParamsError: there is no such file.
        NotKumulusError: it carries nothing that Kumulus writes, and no statement names it.
        ModelError: MLflow knows no such model or run.
        NotHereError: MLflow does not answer.
        IntegrityError: what it needs is not whole.
    """
    path = Path(target)
    try:
        is_there = path.exists()
    except (OSError, ValueError):  # a name that no file can have
        is_there = False
    if target.startswith(("models:/", "runs:/")) or (not is_there and is_run_id(target)):
        return _with_missing(_of_mlflow(target, paths))
    if not is_there:
        raise ParamsError(f"a target must be a file or folder, models:/name/version, models:/name@alias or runs:/id: "
                          f"{target[:_SHOWN]} is none; name another")
    places = Places(paths)
    is_folder = path.is_dir()
    if is_folder and may_be_file(path / _STATEMENT):
        return _with_missing(_of_file(target, path / _STATEMENT, places))
    if is_folder or path.name == WEIGHTS:
        return _with_missing(_of_checkpoint(target, path, places))
    return _with_missing(_of_file(target, path, places))


def _of_file(target: str, path: Path, places: Places) -> Identified:
    claims, sha256 = _readable(path)
    if claims.kind == EARLIER:
        raise IntegrityError(claims.damage)
    notes = [claims.damage] if claims.damage else []
    predicted = "model sha256" in claims.facts
    beside = _beside(path, claims, notes)
    damaged = claims.kind == "statement" and bool(claims.damage)
    stated = beside[0] if beside else None if predicted or damaged else places.statement(claims.provenance, sha256)
    name = beside[1] if beside else _subject(stated, sha256, path)
    resource = ""
    if stated is None and not claims.provenance and not damaged:
        stated, named = places.naming(sha256)
        name, resource = ("", named.name) if named else (_subject(stated, sha256, path), "")
    if stated is None and not claims.provenance and not predicted and not damaged:
        why = claims.damage or "it has no such tag, and no statement names its bytes"
        raise NotKumulusError(f"{target} must carry what Kumulus writes into its files, or be named by a lineage.json "
                              f"beside it or in this repository: {why}; name another file")
    found = Identified(target, claims.kind or "file", path, sha256, claims.provenance, name,
                       stated.statement if stated else None, stated.place if stated else "", None, "",
                       tuple(notes), claims.facts, resource)
    if found.is_prediction:
        found = _with_model(found, places)
    return _with_provenance(found, places, path if claims.kind == "provenance" else None)


def _readable(path: Path) -> tuple[Claims, str]:
    """What a file says of itself, and its sha256."""
    claims = read_claims(path)
    try:
        return claims, file_sha256(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _with_model(found: Identified, places: Places) -> Identified:
    """Add the statement of the model that predicted a map."""
    behind = places.statement(found.provenance or (found.statement.provenance if found.statement else ""))
    return found if behind is None else replace(found, model_statement=behind.statement, model_place=behind.place)


def _beside(path: Path, claims: Claims, notes: list[str]) -> tuple[Stated, str] | None:
    """The statement beside a file that names it, and its name there; a damaged file is found by its name too."""
    if claims.kind == "statement":
        return None if claims.damage else (Stated(statements.read(path), shown(path)), "")
    for file, name in _sidecars(path):
        try:
            found = statements.read(file)
        except IntegrityError as error:
            notes.append(str(error))
            continue
        if name in found.subjects:
            return Stated(found, shown(file)), name
    return None


def _sidecars(path: Path) -> Iterator[tuple[Path, str]]:
    """Statements that may name a file, with its name there: of its folder, of the one above, of its prediction."""
    for folder, name in ((path.parent, path.name), (path.absolute().parent.parent, f"{path.parent.name}/{path.name}")):
        if may_be_file(folder / _STATEMENT):
            yield folder / _STATEMENT, name
    for file in sorted(path.parent.glob(f"*_{_STATEMENT}")):
        if path.name.startswith(file.name.removesuffix(_STATEMENT)):
            yield file, path.name


def _subject(stated: Stated | None, sha256: str, path: Path) -> str:
    """A file's name among a statement's subjects: by its bytes, else by its own name where one is so called."""
    if stated is None:
        return ""
    subjects = stated.statement.subjects
    same = [name for name, digest in subjects.items() if digest == sha256]
    called = [name for name in subjects if name.rpartition("/")[2] == path.name]
    return next((name for name in same if name in called), same[0] if same else called[0] if called else "")


def _of_checkpoint(target: str, path: Path, places: Places) -> Identified:
    """Weights of a member, or a folder of members, which carry no tag: found among what a build came from."""
    file = path / WEIGHTS if path.is_dir() and (path / WEIGHTS).is_file() else path
    if path.is_dir() and file == path and not (path / "members").is_dir():
        raise NotKumulusError(f"folder {target} must be an export with {_STATEMENT}, or a checkpoint with members/ or "
                              f"{WEIGHTS}: it has none of them; name another, or a file")
    sha256 = _digest(file, places)
    stated, named = places.naming(sha256)
    notes: list[str] = []
    if stated is None and (by_place := _in_workspace(file, places)):
        stated, named = by_place
        notes.append(f"no statement names these bytes; {stated.place} names {named.name}, which is at this place")
    if stated is None and not _is_member(file):
        raise NotKumulusError(f"{target} must be weights that Kumulus trained: it has no model.json beside it, and no "
                              "statement here names its bytes; name another file")
    if stated is None:
        notes.append("no statement names these weights: their training was not exported, or elsewhere")
    found = Identified(target, "checkpoint", file, sha256, "", "", stated.statement if stated else None,
                       stated.place if stated else "", None, "", tuple(notes), {}, named.name if named else "")
    return _with_provenance(found, places, None)


def _digest(file: Path, places: Places) -> str:
    """The sha256 of a file, or of a folder as a statement has it: without what .dvcignore leaves out."""
    try:
        if file.is_dir():
            return artifact_digests(file.resolve(), places.paths.root.resolve()).sha256
        return file_sha256(file)
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(path: Path, error: OSError) -> IntegrityError:
    return IntegrityError(f"{path} must be readable: {error}; see who may read it")


def _is_member(file: Path) -> bool:
    if file.is_dir():
        return any(file.glob("members/*/model.json"))
    return (file.parent / "model.json").is_file()


def _in_workspace(file: Path, places: Places) -> tuple[Stated, Resource] | None:
    """What the workspace's own statement says of the place where a file lies."""
    stated = places.workspace
    if stated is None or not file.resolve().is_relative_to(places.paths.root.resolve()):
        return None
    name = file.resolve().relative_to(places.paths.root.resolve()).as_posix()
    resource = next((r for r in stated.statement.resources if r.name == name), None)
    return (stated, resource) if resource else None


def _of_mlflow(target: str, paths: Paths) -> Identified:
    """A registered model's version, or a run."""
    found = mlflow_target.find(target, paths)
    places = Places(paths)
    # What its own run keeps tells two exports of one provenance.json apart.
    kept = Stated(found.statement, found.place) if found.statement is not None else None
    stated = places.equal(found.statement) or places.statement(found.provenance, found.sha256)
    if kept is not None and (stated is None or _another(stated.statement, kept.statement)):
        stated = kept
    name = _subject(stated, found.sha256, Path("model.onnx")) if found.kind == "mlflow_model" else ""
    made = Identified(target, found.kind, found.file, found.sha256, found.provenance, name,
                      stated.statement if stated else None, stated.place if stated else "",
                      found.provenance_json, found.place if found.provenance_json else "", found.notes, found.facts)
    return made if made.provenance_json is not None else _with_provenance(made, places, None)


def _another(first: Statement, second: Statement) -> bool:
    """Whether two statements of one provenance.json are of two exports, and not one of them damaged."""
    return (first.run_key, first.finished) != (second.run_key, second.finished)


def _with_provenance(found: Identified, places: Places, file: Path | None) -> Identified:
    """Add provenance.json: the file itself, the one beside the statement, or one found by its digest."""
    digest = found.provenance or (found.statement.provenance if found.statement else "")
    near = [file] if file else [folder / _PROVENANCE for folder in (*_folders(found), places.paths.export)]
    raw, place = places.provenance(digest, near)
    return replace(found, provenance_json=raw, provenance_place=place)


def _folders(found: Identified) -> list[Path]:
    """Where a provenance.json of this result would lie: beside it and, for a map, one folder up."""
    if found.file is None:
        return []
    return [found.file.parent, found.file.absolute().parent.parent]


def _with_missing(found: Identified) -> Identified:
    """Say what would be needed to say more."""
    digest = found.provenance or (found.statement.provenance if found.statement else "")
    missing = []
    repository = ("run this in a clone of the repository that made it (or name that with --repository), or set "
                  "MLFLOW_TRACKING_URI to the server that knows its run")
    of = f" of the build whose provenance.json has sha256 {digest}" if digest else " of its build"
    if found.is_prediction and found.statement is None:
        missing.append(f"the map's own statement, <scene>_{_STATEMENT}, as `kumulus predict` wrote it beside the map")
    if found.is_prediction and found.model_statement is None:
        missing.append(f"{_STATEMENT} that names the model{of}: {repository}")
    if not found.is_prediction and found.statement is None:
        missing.append(f"{_STATEMENT}{of}: put the folder models/export beside the file, {repository}")
    if found.provenance_json is None and digest:
        missing.append(f"{_PROVENANCE} with sha256 {digest}, which names data, code, params and libraries")
    return replace(found, missing=tuple(missing))
