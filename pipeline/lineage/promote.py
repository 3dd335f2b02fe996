"""`kumulus promote`: give an alias of the registry to a version whose gates hold and whose every byte verifies.

Gates are the targets in the build's own params, judged anew on the metrics.json that its statement names by digest, so
neither a tag of MLflow nor a later edit of params.yaml decides. They come first, since verifying reads all bytes.
Nothing but the alias and its history on the version is written, and a lock file in .kumulus.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from pipeline.errors import KumulusError, ModelError
from pipeline.lineage.finder import Finder
from pipeline.lineage.identify import Identified, identify
from pipeline.lineage.promote_target import find_version
from pipeline.lineage.promote_text import show_gates, show_pair
from pipeline.lineage.standing import Standing, standing
from pipeline.lineage.standing_pair import side_by_side
from pipeline.lineage.verdicts import Report, Verdict
from pipeline.lineage.verify import verify
from pipeline.paths import Paths
from pipeline.tracking import registry
from pipeline.tracking.lookup import FoundVersion, Lookup, looking
from pipeline.tracking.store import RefusedError, UnreachableError, locate

Say = Callable[[str], None]


class Status(IntEnum):
    """How a promotion ended, as the command's exit status."""

    PROMOTED = 0
    #: A gate is missed, or there are none.
    REFUSED = 1
    #: Something that the record names is not here.
    UNVERIFIABLE = 3
    #: A place holds other bytes than the record says.
    CONTRADICTED = 4


@dataclass(frozen=True)
class Promotion:
    """How a promotion ended; `reason` is "" where the version has the alias now."""

    version: FoundVersion
    status: Status
    reason: str = ""


def promote(run: str, paths: Paths, alias: str = "champion", without_targets: bool = False,
            say: Say = print) -> Promotion:
    """Move an alias to the version that came of a run, if its gates hold and it verifies.

    Args:
        run: see `pipeline.lineage.promote_target.find_version`.
        paths: the repository, and whose MLflow is asked.
        alias: champion, candidate, or any other.
        without_targets: promote a version that declares no targets.
        say: shows a line.

    Raises:
        ParamsError: the alias is no name for one.
        ModelError: MLflow does not answer, or knows no such version.
        IntegrityError: a file that was found is not what it must be.
        NotKumulusError: the version was not made by Kumulus.
    """
    registry.check_alias(alias)
    with _asking(run, paths) as lookup:
        version = find_version(run, paths, lookup)
        holder = lookup.holder(version.name, alias)
    say(f"{version.name} version {version.version}, for alias {alias}"
        + (f", which version {holder.version} has" if holder else ", which no version has"))
    identified = identify(_ref(version), paths)
    other = _identified(holder, paths, say) if holder and holder.version != version.version else None
    with _asking(run, paths) as lookup, tempfile.TemporaryDirectory(prefix="kumulus-promote-") as scratch:
        finder = Finder(paths, Path(scratch))
        candidate = standing(version, identified, finder, lookup)
        champion = standing(holder, other, finder, lookup) if holder and other else None
        if refused := _judge(candidate, champion, without_targets, say):
            return Promotion(version, *refused)
    if refused := _verify(identified, paths, say):
        return Promotion(version, *refused)
    if registry.move(paths, version, alias, holder.version if holder else ""):
        say(f"{_ref(version)} is models:/{version.name}@{alias} now"
            + (f"; version {holder.version} was before" if holder else ""))
    else:
        say(f"{_ref(version)} is models:/{version.name}@{alias} already: nothing was changed")
    return Promotion(version, Status.PROMOTED)


def _identified(holder: FoundVersion, paths: Paths, say: Say) -> Identified | None:
    """The present holder of the alias; one that cannot be read is told, and stands in nobody's way."""
    try:
        return identify(_ref(holder), paths)
    except KumulusError as error:
        say(f"version {holder.version}, which has the alias, cannot be shown beside it: {error}")
        return None


def _judge(candidate: Standing, champion: Standing | None, without_targets: bool,
           say: Say) -> tuple[Status, str] | None:
    """Show the gates and the table; why the candidate is refused, None where it is not."""
    for text in (*candidate.missing, *(champion.missing if champion else ())):
        say(f"not found: {text}")
    if candidate.metrics is None:
        return Status.UNVERIFIABLE, f"the scores of {candidate.shown} are not here, so no gate can be judged"
    show_pair(candidate, champion, side_by_side(candidate, champion), say)
    show_gates(candidate, say)
    missed = [gate.target.name for gate in candidate.gates if not gate.held]
    if missed:
        return Status.REFUSED, f"{len(missed)} of {len(candidate.gates)} gates are missed: {', '.join(missed)}"
    if not candidate.gates and not without_targets:
        score = f"{candidate.metrics['classes'][-1]}.iou"
        return Status.REFUSED, ("the build declares no targets, so nothing says that it is good enough; declare one in "
                                f'params.yaml, such as evaluate.targets: {{{score}: ">= 0.5"}}, and run `dvc repro`, '
                                "or give --without-targets")
    return None


def _verify(identified: Identified, paths: Paths, say: Say) -> tuple[Status, str] | None:
    """Verify; why the candidate is refused, None where all bytes are those on record."""
    say("verifying all bytes behind it")
    report = verify(identified, paths)
    if report.verdict is Verdict.VERIFIED:
        say(f"verified: {report.files} files hold the bytes on record")
        return None
    status = Status.CONTRADICTED if report.verdict is Verdict.CONTRADICTED else Status.UNVERIFIABLE
    return status, _broken(report)


def _broken(report: Report) -> str:
    first = report.first_broken
    assert first is not None
    more = sum(link.is_broken for link in report.links) - 1
    said = f"{first.name}{f' ({first.place})' if first.place else ''}: {first.message}"
    return said + (f"; {more} more links do not hold, see `kumulus trace --verify`" if more else "")


def _ref(version: FoundVersion) -> str:
    return f"models:/{version.name}/{version.version}"


@contextmanager
def _asking(run: str, paths: Paths) -> Iterator[Lookup]:
    """Look into MLflow, and answer in the project's words where that fails."""
    store = locate(paths)
    try:
        with looking(paths) as lookup:
            yield lookup
    except UnreachableError as error:
        raise ModelError(f"{run} must be looked up in MLflow at {store.shown}, which did not answer: {error}; start "
                         "it, or set MLFLOW_TRACKING_URI") from error
    except RefusedError as error:
        raise ModelError(f"{run} must be something that MLflow at {store.shown} knows: {error}; see `kumulus ui`, and "
                         "`kumulus sync` where it was made") from error
