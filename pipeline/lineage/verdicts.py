"""What a verification says: one link for each place that was looked at, and what they come to together."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What bytes at a place are to the record."""

    #: The bytes are those on record.
    VERIFIED = "verified"
    #: The place is about something else by now, as its own record says; no alarm.
    MOVED_ON = "moved_on"
    #: The bytes on record are at none of the places looked at.
    ABSENT = "absent"
    #: The place claims to hold what is on record, and holds other bytes.
    CONTRADICTED = "contradicted"


@dataclass(frozen=True)
class Link:
    """One link of the chain from a file back to its sources, at one place."""

    #: Id of the node in the trace, such as "file:data/raw/scenes/x.tif".
    node: str
    #: For people.
    name: str
    #: Where was looked, such as "workspace" or "DVC's cache"; "" where nothing is.
    place: str
    verdict: Verdict
    #: Digest or value on record, and what is there; "" where there is none.
    expected: str
    found: str
    message: str
    #: Whether an absence lowers the verdict of the whole: not for what is only beside the way.
    counts: bool = True

    @property
    def is_broken(self) -> bool:
        """Whether the chain does not hold here."""
        return self.verdict is Verdict.CONTRADICTED or (self.verdict is Verdict.ABSENT and self.counts)


@dataclass(frozen=True)
class Report:
    """All links, in order from the file back to the sources."""

    links: tuple[Link, ...]
    #: Files and bytes that were read and hashed.
    files: int = 0
    size: int = 0

    @property
    def verdict(self) -> Verdict:
        """CONTRADICTED, else ABSENT, else VERIFIED: the worst that counts."""
        if any(link.verdict is Verdict.CONTRADICTED for link in self.links):
            return Verdict.CONTRADICTED
        return Verdict.ABSENT if any(link.is_broken for link in self.links) else Verdict.VERIFIED

    @property
    def first_broken(self) -> Link | None:
        """The first link that is contradicted; where none is, the first that is absent; None where all hold."""
        broken = [link for link in self.links if link.is_broken]
        contradicted = (link for link in broken if link.verdict is Verdict.CONTRADICTED)
        return next(contradicted, broken[0] if broken else None)

    def of(self, *verdicts: Verdict) -> tuple[Link, ...]:
        """The links with these verdicts."""
        return tuple(link for link in self.links if link.verdict in verdicts)

    def node_verdicts(self) -> dict[str, Verdict]:
        """{node: verdict}, what its places come to: contradicted by any, else verified by any, else absent."""
        found: dict[str, Verdict] = {}
        for link in self.links:
            best = found.get(link.node)
            if best is None or _RANK.index(link.verdict) < _RANK.index(best):
                found[link.node] = link.verdict
        return found


_RANK = (Verdict.CONTRADICTED, Verdict.VERIFIED, Verdict.ABSENT, Verdict.MOVED_ON)
