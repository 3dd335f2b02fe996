"""The checks a trace is asked for, one after the other: bytes, signature, replay; and all of it as plain data."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ParamsError
from pipeline.lineage import verdict_text
from pipeline.lineage.identify import Identified
from pipeline.lineage.tree import Trace
from pipeline.lineage.verdicts import Report
from pipeline.paths import Paths

if TYPE_CHECKING:
    from pipeline.lineage.replay import ReplayReport
    from pipeline.lineage.signing import SignatureCheck

#: Exit codes of a signature's verdicts.
_SIGNATURE = {"verified": 0, "absent": 3, "contradicted": 4}


@dataclass(frozen=True)
class Wanted:
    """What to check."""

    verify: bool = False
    replay: bool = False
    #: Leave the scratch folder of the replay.
    keep: bool = False
    public_key: Path | None = None
    signature: Path | None = None


@dataclass(frozen=True)
class Checked:
    """What the checks came to; None for what was not asked for."""

    report: Report | None = None
    signature: "SignatureCheck | None" = None
    replay: "ReplayReport | None" = None
    marks: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The gravest: 4 contradicted, 3 unverifiable, 0 verified or nothing asked for."""
        return max([0, *([verdict_text.EXIT[self.report.verdict]] if self.report else []),
                    *([_SIGNATURE[self.signature.verdict]] if self.signature else []),
                    *([self.replay.exit_code] if self.replay else [])])

    def lines(self) -> Iterator[str]:
        """What they came to, in lines."""
        if self.report is not None:
            yield from verdict_text.lines(self.report)
        if self.signature is not None:
            word = "unverifiable" if self.signature.verdict == "absent" else self.signature.verdict
            yield f"signature: {word}: {self.signature.message}"
        if self.replay is not None:
            yield self.replay.text()


def run(identified: Identified, paths: Paths, wanted: Wanted, say: Callable[[str], None]) -> Checked:
    """Run the checks.

    Args:
        identified: the target.
        paths: the repository.
        wanted: which.
        say: shows a line of progress.

    Raises:
        ParamsError: a signature is named without the key to check it by, or the folder of a replay is to be kept
            without one, or the signature cannot be read.
        IntegrityError: the key or the target cannot be read.
    """
    if wanted.keep and not wanted.replay:
        raise ParamsError("--keep must come with --replay, whose scratch folder it leaves: got --keep alone; name "
                          "--replay too")
    if wanted.signature is not None and wanted.public_key is None:
        raise ParamsError(f"--signature must come with the key to check it by: got {wanted.signature} alone; name "
                          "--public-key too")
    # First, as it takes a moment: a key that cannot be read must not cost the hours of what follows.
    signature = _signature(identified, paths, wanted, wanted.public_key) if wanted.public_key else None
    report = None
    if wanted.verify:
        from pipeline.lineage.verify import verify

        report = verify(identified, paths)
    replayed = None
    if wanted.replay:
        from pipeline.lineage.replay import replay

        replayed = replay(identified, paths, say, wanted.keep)
    return Checked(report, signature, replayed, verdict_text.marks(report) if report else {})


def _signature(identified: Identified, paths: Paths, wanted: Wanted, key: Path) -> "SignatureCheck":
    """Of the whole export where a statement is the target, else of the one file."""
    from pipeline.lineage.signing import check_signature, default_place, find_signature

    if identified.file is None:
        raise ParamsError(f"a signature must be checked over a file: {identified.target} is none here; name the file")
    digest = identified.provenance or (identified.statement.provenance if identified.statement else "")
    target = identified.file.parent if identified.kind == "statement" else identified.file
    place = wanted.signature or find_signature(digest, target, paths) or default_place(digest, paths)
    _must_open(place)
    return check_signature(target, place, key, identified.name)


def _must_open(signature: Path) -> None:
    """Tell a signature that this user cannot read from one that was altered; one that is not there is no error."""
    try:
        with signature.open("rb"):
            return
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ParamsError(f"the signature must be a file that can be read: {error}; name another with "
                          "--signature") from error


def to_json(identified: Identified, trace: Trace, checked: Checked) -> dict[str, Any]:
    """All there is to know: what the target is, its graph, and what the checks came to."""
    found: dict[str, Any] = {
        "target": identified.target, "kind": identified.kind, "sha256": identified.sha256,
        "provenance": identified.provenance, "name": identified.name, "resource": identified.resource,
        "statement": identified.statement_place, "provenance_json": identified.provenance_place,
        "facts": dict(identified.facts), "notes": list(identified.notes), **trace.to_json()}
    if checked.report is not None:
        found["verify"] = verdict_text.to_json(checked.report)
    if checked.signature is not None:
        found["signature"] = asdict(checked.signature)
    if checked.replay is not None:
        found["replay"] = checked.replay.to_json()
    if checked.exit_code or checked.report or checked.signature or checked.replay:
        found["exit_code"] = checked.exit_code
    return found
