"""Ask OpenStreetMap through osmnx, with its settings put in order for the time of the questions.

osmnx repeats some failures for ever (429 and 504, every 55 s), takes others for empty answers (an error page in JSON, a
query that ran out of time), writes a cache into the working folder and bends name resolution for the process. Here each
answer is looked at as it arrives, through the hook that requests offers, and everything is put back afterwards.
"""

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from pipeline.digests import canonical_sha256
from pipeline.errors import LabelError
from pipeline.params.acquire_remote import OsmParams
from pipeline.paths import write_json
from pipeline.sources.downloads import repeat

if TYPE_CHECKING:
    import geopandas as gpd
    import requests
    from shapely.geometry.base import BaseGeometry

R = TypeVar("R")

_SETTINGS = ("overpass_url", "nominatim_url", "overpass_rate_limit", "requests_timeout", "requests_kwargs", "use_cache",
             "cache_folder", "log_console", "log_file", "http_user_agent", "http_referer")

#: Statuses of a server that will not answer otherwise next time.
_FINAL = (400, 401, 403, 404, 405, 410)


class _RemarkError(Exception):
    """Overpass answered 200 with a remark: what came is not all."""


class OsmClient:
    """Asks for places and features; answers are kept in `folder` until the acquisition has succeeded."""

    def __init__(self, params: OsmParams, folder: Path) -> None:
        self._params, self._folder = params, folder
        for file in (folder / "answers").glob("*.json"):  # osmnx does not write them in one go
            try:
                json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                file.unlink()

    def place(self, name: str) -> "BaseGeometry":
        """The boundary of a place, in degrees.

        Raises:
            LabelError: Nominatim does not answer, or knows no boundary of that name.
        """
        import osmnx
        from osmnx._errors import InsufficientResponseError

        try:
            frame = self._ask(lambda: osmnx.geocode_to_gdf(name), self._params.nominatim_url, "nominatim_url")
        except (InsufficientResponseError, TypeError) as error:
            raise LabelError(f"acquire.osm.place must be a place with a boundary that {self._params.nominatim_url} "
                             f"knows: got {name!r} ({error}); spell it with its country, or leave place out to take "
                             "the scenes' footprint") from error
        return frame.geometry.iloc[0]

    def features(self, polygon: "BaseGeometry", tags: Mapping[str, bool | Sequence[str]]) -> "gpd.GeoDataFrame | None":
        """Features with any of the tags that meet the polygon, indexed by element and id; None where there are none.

        Raises:
            LabelError: Overpass does not answer.
        """
        import osmnx
        from osmnx._errors import InsufficientResponseError

        wanted: dict[str, bool | str | list[str]] = {k: v if isinstance(v, bool) else list(v) for k, v in tags.items()}
        try:
            return self._ask(lambda: osmnx.features_from_polygon(polygon, wanted), self._params.url, "url")
        except InsufficientResponseError:
            return None

    def _ask(self, question: Callable[[], R], url: str, setting: str) -> R:
        """The answer, repeated while a failure may pass; sub-queries that were answered are not asked again."""
        import requests

        def may_pass(error: Exception) -> bool:
            response = getattr(error, "response", None)
            return response is None or response.status_code not in _FINAL

        try:
            with self._settings():
                return repeat(question, may_pass, (requests.RequestException, _RemarkError), self._params.retry)
        except (requests.RequestException, _RemarkError) as error:
            reason = " ".join(str(error).split())[:300]
            raise LabelError(f"acquire.osm.{setting} {url} must answer: {reason}, up to {1 + self._params.retry.times} "
                             "times; check the address and the network, or run again later to go on") from error

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Change the settings of osmnx, and put them back with socket.getaddrinfo, which it replaces."""
        from osmnx import settings

        params, getaddrinfo = self._params, socket.getaddrinfo
        before = {name: getattr(settings, name) for name in _SETTINGS}
        settings.overpass_url, settings.nominatim_url = params.url, params.nominatim_url
        settings.overpass_rate_limit = params.rate_limit
        settings.requests_timeout = round(params.retry.timeout_s)  # it is written into the query, too
        settings.use_cache, settings.cache_folder = True, self._folder / "answers"
        settings.log_console = settings.log_file = False
        settings.requests_kwargs = {"hooks": {"response": self._look}}
        try:
            yield
        finally:
            socket.getaddrinfo = getaddrinfo
            for name, value in before.items():
                setattr(settings, name, value)

    def _look(self, response: "requests.Response", **_: Any) -> None:
        """See that an answer is whole, and note the query that led to it."""
        if response.url.rstrip("/").endswith("/status"):
            if not response.ok or re.search(r"^Rate limit: 0\s*$", response.text, re.MULTILINE):
                raise LabelError(f"acquire.osm.url {self._params.url} must manage slots where acquire.osm.rate_limit "
                                 "is true: its status names none and osmnx would wait for ever; set it to false")
            return
        if not response.ok:
            response.close()  # nobody else does so once this hook has raised
            response.raise_for_status()
        if response.is_redirect:
            return
        answer = response.json()
        if isinstance(answer, dict) and "remark" in answer:
            raise _RemarkError(f"the query was not finished ({answer['remark']})")
        query = _query(response.request)
        note = {"endpoint": response.url.partition("?")[0], "query": query, "answer": answer}
        write_json(self._folder / "noted" / f"{canonical_sha256(query)[:24]}.json", note)

    def noted(self) -> list[dict[str, Any]]:
        """All questions with their answers, of interrupted runs too, sorted: endpoint, query, answer."""
        files = sorted((self._folder / "noted").glob("*.json"))
        found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        return sorted(found, key=lambda note: (note["endpoint"], note["query"]))


def _query(request: "requests.PreparedRequest") -> str:
    """Overpass QL of a posted form, or the query string of a GET."""
    body = request.body.decode() if isinstance(request.body, bytes) else str(request.body or "")
    return parse_qs(body).get("data", [""])[0] or urlsplit(request.url or "").query
