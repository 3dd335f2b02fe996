"""`--replay`: make a result again from its commit and sources, and compare weights and maps.

The matching commit is checked out into a scratch clone with a cache and an MLflow of its own; sources are brought by
their digests; `dvc repro --force` runs there. Nothing is written into the user's tree.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.digests import LOCK_FILE
from pipeline.errors import IntegrityError
from pipeline.lineage.agreement import MAP_TOLERANCE, WEIGHTS_TOLERANCE, Compared, agree
from pipeline.lineage.bringing import bring
from pipeline.lineage.commits import History, Match, find_commit
from pipeline.lineage.finder import Finder
from pipeline.lineage.identify import Identified
from pipeline.lineage.scratch import Say, Scratch, cloned
from pipeline.lineage.surroundings import differences, expected_differences, lock_differences
from pipeline.paths import Paths
from pipeline.tracking.environment import recorded_environment
from pipeline.tracking.provenance import STAGES
from pipeline.tracking.statement import Statement

Outcome = Literal["verified", "unverifiable", "contradicted"]

#: Exit codes, those of `trace --verify`.
EXIT = {"verified": 0, "unverifiable": 3, "contradicted": 4}

#: Differences between machines that are named; the JSON has all.
_MOST = 6


@dataclass(frozen=True)
class ReplayReport:
    """What a replay came to."""

    verdict: Outcome
    #: One sentence: what the verdict rests on, or what it lacks.
    message: str
    commit: str = ""
    #: How the commit was found: "the recorded commit", "experiment x" ...
    commit_place: str = ""
    #: "key: recorded -> found", of machine and libraries.
    environment: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    compared: tuple[Compared, ...] = ()
    #: The scratch folder, where it was kept.
    kept: str = ""

    @property
    def exit_code(self) -> int:
        """0 verified, 3 unverifiable, 4 contradicted."""
        return EXIT[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"verdict": self.verdict, "message": self.message, "commit": self.commit,
                "commit_place": self.commit_place, "environment": list(self.environment), "notes": list(self.notes),
                "tolerances": {"weights_largest_relative": WEIGHTS_TOLERANCE, "map_equal_share": MAP_TOLERANCE},
                "compared": [one.to_json() for one in self.compared], "kept": self.kept}

    def text(self) -> str:
        """As lines for a terminal: what is equal in sum, what differs one by one."""
        lines = [f"replay: {self.verdict}: {self.message}"]
        if self.commit:
            lines.append(f"  commit {self.commit[:9]} ({self.commit_place})")
        lines += [f"  {note}" for note in self.notes]
        lines += [f"  differs here: {text}" for text in self.environment[:_MOST]]
        if len(self.environment) > _MOST:
            lines.append(f"  differs here: {len(self.environment) - _MOST} more (--json has all)")
        judged = [one for one in self.compared if one.kind in ("weights", "map")]
        others = [one for one in self.compared if one.kind not in ("weights", "map")]
        lines += [f"  {one.shown}" for one in (*judged, *(one for one in others if not one.equal))]
        if equal := [one for one in others if one.equal]:
            lines.append(f"  {len(equal)} other artifacts and files: byte-identical")
        return "\n".join([*lines, *([f"  kept in {self.kept}"] if self.kept else [])])


def replay(identified: Identified, paths: Paths, say: Say, keep: bool = False) -> ReplayReport:
    """Make the result behind a file again, and compare.

    Args:
        identified: the file, with its statement.
        paths: of the project whose git, DVC and files are used.
        say: shows a line of progress.
        keep: leave the scratch folder.

    Raises:
        IntegrityError: git cannot clone the repository.
    """
    statement = identified.statement
    if statement is None:
        return ReplayReport("unverifiable", f"{identified.target} has no statement here, which names what it was made "
                            "of; put its lineage.json beside it, or run this in the project's repository")
    if statement.kind != "export":
        return ReplayReport("unverifiable", "a prediction is no build of the pipeline; replay the model it was made "
                            "with, and run `kumulus predict` again with its settings")
    if not _is_named(identified, statement):
        if identified.resource:  # found by its place alone, as of a training that was not exported
            return ReplayReport("unverifiable", f"{identified.target} must be bytes that a statement names: none at "
                                f"hand names sha256 {identified.sha256}; export what it became part of, or ask about "
                                "the recorded version")
        return ReplayReport("contradicted", f"{identified.target} must be a file that its statement names: sha256 "
                            f"{identified.sha256} is none of it; it was changed after the export, so that there is "
                            "nothing to make again")
    search = find_commit(statement, paths.root)
    if search.match is None:
        return ReplayReport("unverifiable", search.reason)
    match, history = search.match, History(paths.root)
    say(f"replay: commit {match.commit[:9]} ({match.place}) has this result's code, lock and params")
    with (cloned(paths.root, history.prefix, match.commit, keep, say) as scratch,
          tempfile.TemporaryDirectory(prefix="kumulus-found-") as found):
        finder = Finder(paths, Path(found), _export_folder(identified))
        return _replayed(statement, match, scratch, finder, say, keep)


def _is_named(identified: Identified, statement: Statement) -> bool:
    """Whether the bytes asked about are the statement's own: it, a finished file, or what its build came from."""
    known = {*statement.subjects.values(), *(resource.sha256 for resource in statement.resources)}
    return identified.kind == "statement" or identified.sha256 in {"", *known}


def _export_folder(identified: Identified) -> Path | None:
    """The folder of lineage.json, for a file that its statement names by a path in it."""
    return identified.file.absolute().parents[identified.name.count("/")] if identified.file else None


def _replayed(statement: Statement, match: Match, scratch: Scratch, finder: Finder, say: Say,
              keep: bool) -> ReplayReport:
    commit = match.commit, match.place
    kept = str(scratch.folder) if keep else ""
    lock = scratch.root / LOCK_FILE
    for text in lock_differences(lock.read_text(encoding="utf-8")) if lock.is_file() else ():
        say(f"replay: not as locked: {text}")
    expected = expected_differences(statement.environments)
    for text in expected:
        say(f"replay: differs here: {text}")
    if expected:
        say(f"replay: so weights and maps are compared by tolerance, not only byte by byte: {tolerances()}")
    if other := differences(statement.params, scratch.params()):
        key, (old, new) = next(iter(other.items()))
        return ReplayReport("unverifiable", f"the commit's params.yaml is not the one on record: {key} was {old}, and "
                            f"is {new} there; commit the values that the result was made with", *commit, expected,
                            kept=kept)
    brought = bring(statement, scratch, finder)
    for note in brought.notes:
        say(f"replay: {note}")
    if brought.missing:
        return ReplayReport("unverifiable", "; ".join(brought.missing), *commit, expected, brought.notes, kept=kept)
    stages = len(STAGES) - (0 if brought.acquires else 1)
    scratch.threads = _threads(statement)
    if reason := scratch.repro(brought.targets, stages, say):
        verdict: Outcome = "unverifiable"
        return ReplayReport(verdict, f"the stages did not run to their end: {reason}", *commit, expected,
                            brought.notes, kept=kept)
    replayed = Paths(scratch.root)
    compared = tuple(agree(statement, replayed, finder, brought.acquires))
    environment = tuple(dict.fromkeys((*expected, *_found_differences(statement, replayed))))
    excuses = [*([f"machine or libraries differ in {len(environment)} points"] if environment else []),
               *([brought.changed] if brought.changed else [])]
    verdict, message = judge(compared, excuses)
    return ReplayReport(verdict, message, *commit, environment, brought.notes, compared, kept)


def tolerances() -> str:
    """The stated tolerances, for people."""
    return (f"tensors of weights within {WEIGHTS_TOLERANCE:.0%} of their norm, class maps equal in at least "
            f"{MAP_TOLERANCE:.0%} of their pixels")


def judge(compared: Sequence[Compared], excuses: Sequence[str]) -> tuple[Outcome, str]:
    """The verdict over all that was compared.

    Args:
        compared: artifacts and files.
        excuses: why bytes may differ; none on the recorded machine, libraries and params.
    """
    judged = [one for one in compared if one.kind != "report"]
    if not judged:
        raise IntegrityError("a replay must have something to compare: the statement names no artifact and no file; "
                             "export the model again")
    wrong = [one for one in judged if not one.equal]
    if not wrong:
        return "verified", f"{len(judged)} artifacts and files are byte-identical{_among(judged)}"
    if not excuses:
        return "contradicted", (f"on the same machine type, libraries and params, {len(wrong)} of {len(judged)} "
                                f"artifacts and files differ, first {wrong[0].name}")
    why = "; ".join(excuses)
    decisive = [one for one in judged if one.kind in ("weights", "map")]
    if not decisive:
        return "unverifiable", f"no weights and no class map were compared, other files differ, and {why}"
    if all(one.equal for one in decisive):
        return "verified", f"weights and class maps are byte-identical, though other files differ ({why})"
    unknown = [one for one in decisive if not one.equal and one.within is None]
    outside = [one for one in decisive if not one.equal and one.within is False]
    if outside:
        return "unverifiable", (f"{outside[0].name} is outside the tolerances, and {why}; only the recorded machine "
                                "and libraries can tell a false statement from sums in another order")
    if unknown:
        return "unverifiable", f"{unknown[0].name}: {unknown[0].note}; `dvc pull` brings them; {why}"
    return "verified", f"weights and class maps agree within the tolerances ({tolerances()}), while {why}"


def _among(judged: Sequence[Compared]) -> str:
    """Which of weights and maps are among what was compared, to be told after the rest."""
    kinds = [word for kind, word in (("weights", "weights"), ("map", "maps"))
             if any(one.kind == kind for one in judged)]
    return f", {' and '.join(kinds)} among them" if kinds else ""


def _threads(statement: Statement) -> int:
    """Threads of the libraries when the result was exported; 0 where that is not on record."""
    return int(statement.environments.get("export", {}).get("threads", 0))


def _found_differences(statement: Statement, replayed: Paths) -> list[str]:
    """How the stages that ran found machine and libraries, against the record."""
    found: dict[str, None] = {}
    for stage, recorded in statement.environments.items():
        now = recorded_environment(stage, replayed)
        for key, (old, new) in (differences(recorded, now) if now is not None else {}).items():
            if key == "threads" and "precision" not in recorded:
                continue  # replay sets the threads of stages without a network, which say what is set
            found[f"{key.removeprefix('libraries.')}: {old} -> {new}"] = None
    return list(found)
