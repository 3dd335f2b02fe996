"""Rules for single values of what section `acquire` asks of a network: addresses, times, areas."""

import math
import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

#: RFC 3339 (section 5.6), or a date of it, or its year or month alone.
_INSTANT = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)([Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[-+]\d\d:\d\d)?)?)?)?")
_OPEN = ".."
#: The year after it can be written, too.
_LAST_YEAR = 9998


def check_no_password(url: str, setting: str) -> None:
    """See that an address holds no user name or password, which would be copied wherever params are.

    Raises:
        ValueError: it does; the message does not repeat it.
    """
    if "@" in urlsplit(url).netloc:
        raise ValueError(f"{setting} must hold no user name or password, because params.yaml is committed and "
                         f"recorded: got one before the host {urlsplit(url).hostname}; put it into ~/.netrc, or into "
                         "the file that the environment variable NETRC names")


def check_path_fits(url: str, setting: str) -> None:
    """See that a path can be added to an address.

    Raises:
        ValueError: it has a query or a fragment; the message does not repeat it.
    """
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise ValueError(f"{setting} must be an address that a path can be added to: got one with a query or "
                         f"fragment after {parts.netloc}{parts.path}; remove it")


def check_times(given: str, setting: str) -> None:
    """See that a search's time is one that the API is asked for as it is meant.

    Raises:
        ValueError: no time, no interval, or one that ends before it starts.
    """
    if not given:
        return
    rule = f"{setting} must be a date, an RFC 3339 time, or two of them with / between ('..' for an open end)"
    ends = given.split("/")
    if len(ends) > 2 or set(ends) == {_OPEN}:
        remedy = "leave it empty for any time" if set(ends) == {_OPEN} else "write one /"
        raise ValueError(f"{rule}: got {given!r}; {remedy}")
    spans = []
    for end in ends:
        if end == _OPEN and len(ends) == 2:
            continue
        try:
            spans.append(_span(end))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{rule}: got {given!r}, of which {end!r} is none ({error}); write it such as 2024-05-17 "
                             "or 2024-05-17T03:00:00Z") from error
    if len(spans) == 2 and spans[0][0] > spans[1][1]:
        raise ValueError(f"{setting} must start before it ends: got {given!r}; exchange its ends")


def _span(text: str) -> tuple[datetime, datetime]:
    """First and last moment of a year, month, day or instant."""
    found = _INSTANT.fullmatch(text)
    if not found:
        raise ValueError("it is not spelled so")
    year, month, day, time = found.groups()
    if int(year) > _LAST_YEAR:
        raise ValueError("an open end is written ..")
    first = datetime.fromisoformat(f"{year}-{month or '01'}-{day or '01'}{(time or 'T00:00:00').upper()}")
    first = first if first.tzinfo else first.replace(tzinfo=UTC)
    if time:
        return first, first
    last_month = int(month or 12)
    last_day = int(day or monthrange(int(year), last_month)[1])
    return first, first.replace(month=last_month, day=last_day) + timedelta(days=1, microseconds=-1)


def check_bbox(bbox: tuple[float, ...]) -> None:
    """See that a box is west, south, east, north in degrees.

    Raises:
        ValueError: it is not.
    """
    if len(bbox) != 4 or not all(map(math.isfinite, bbox)):
        raise ValueError(f"acquire.stac.bbox must be west, south, east, north in degrees: got {list(bbox)}")
    west, south, east, north = bbox
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise ValueError("acquire.stac.bbox must be west < east within 180 and south < north within 90 degrees: "
                         f"got {list(bbox)}; divide an area that crosses the antimeridian")
