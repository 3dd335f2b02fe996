"""Which items of a STAC API a scene is made of: search, filter, rank; the same answer gives the same choice."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any

import shapely

from pipeline.errors import SceneError
from pipeline.params.acquire_remote import Retrying, StacParams
from pipeline.sources.stac.hrefs import scrubbed, unsigned

if TYPE_CHECKING:
    import pystac
    from pystac_client import Client

Box = tuple[float, float, float, float]

#: Statuses of a search that may pass.
_PASSING = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Found:
    """The items to use, best first, and the licence of each collection."""

    items: tuple["pystac.Item", ...]
    licences: dict[str, str]


def search(params: StacParams, area: Box) -> Found:
    """The `params.scenes` least cloudy items that cover the area, ties broken by collection and id.

    Cloud cover and footprint are checked here too: not every API filters, and none by cover.

    Args:
        params: the search.
        area: west, south, east, north in degrees.

    Raises:
        SceneError: the API does not answer, a collection is missing, too many items match, or none does.
    """
    from pystac.errors import STACError, STACTypeError
    from pystac_client.errors import ClientTypeError
    from pystac_client.exceptions import APIError

    try:
        client = _open(params)
        licences = {name: _licence(client, name, unsigned(params.url)) for name in params.collections}
        items = _matching(client, params, area)
    except (APIError, ClientTypeError, STACError, STACTypeError, JSONDecodeError) as error:
        raise SceneError(f"acquire.stac.url {unsigned(params.url)} must answer as a STAC API: {_one_line(error)}; "
                         "check the url and the network, or run again later") from error
    return Found(choose(items, params, area), licences)


def _open(params: StacParams) -> "Client":
    from pystac_client import Client
    from pystac_client.stac_api_io import StacApiIO

    io = StacApiIO(timeout=params.retry.timeout_s, max_retries=_retries(params.retry))
    client = Client.open(params.url, stac_io=io)
    if client.get_search_link() is None:
        raise SceneError(f"acquire.stac.url {unsigned(params.url)} must be a STAC API: its landing page has no link to "
                         "a search; a static catalog cannot be searched")
    return client


def _retries(retry: Retrying) -> Any:
    from urllib3 import Retry

    return Retry(total=retry.times, backoff_factor=retry.wait_s, status_forcelist=_PASSING,
                 allowed_methods=None, respect_retry_after_header=True)


def _licence(client: "Client", name: str, url: str) -> str:
    collection = client.get_collection(name)
    if collection is None:
        raise SceneError(f"acquire.stac.collections must name collections of {url}: it has no {name!r}")
    return str(collection.license)


def _matching(client: "Client", params: StacParams, area: Box) -> list["pystac.Item"]:
    from pystac_client import ConformanceClasses

    query: dict[str, Any] = {}
    if params.max_cloud_cover < 100 and client.conforms_to(ConformanceClasses.QUERY):
        query = {"eo:cloud_cover": {"lte": params.max_cloud_cover}}
    found = client.search(collections=list(params.collections), bbox=list(area), datetime=params.datetime or None,
                          query=query or None, max_items=params.max_items + 1, limit=min(100, params.max_items + 1))
    items = list(found.items())
    if len(items) > params.max_items:
        raise SceneError(f"acquire.stac must match at most max_items={params.max_items} items: there are more; narrow "
                         "datetime or max_cloud_cover, or raise max_items")
    return items


def choose(items: Sequence["pystac.Item"], params: StacParams, area: Box) -> tuple["pystac.Item", ...]:
    """The items to use out of those that match, best first.

    Raises:
        SceneError: no item is left, or fewer than `params.scenes`; the message counts what was left out.
    """
    items = newest(items)
    covers = {id(item): cover(item, area) for item in items}
    clear = [item for item in items if params.max_cloud_cover >= 100 or cloud_cover(item) <= params.max_cloud_cover]
    wide = [item for item in clear if covers[id(item)] >= params.min_cover]
    if len(wide) < params.scenes:
        best = max((covers[id(item)] for item in clear), default=0.0)
        raise SceneError(f"acquire.stac must find at least scenes={params.scenes} item(s): {len(items)} match the "
                         f"search, {len(clear)} of them with at most {params.max_cloud_cover:g} % cloud, "
                         f"{len(wide)} of those cover {params.min_cover:.0%} of the area (the best {best:.0%}); "
                         "widen datetime or max_cloud_cover, or lower min_cover or scenes")
    ranked = sorted(wide, key=lambda item: (cloud_cover(item), item.collection_id or "", item.id))
    return tuple(ranked[:params.scenes])


def newest(items: Sequence["pystac.Item"]) -> list["pystac.Item"]:
    """The items without those that a later processing of the same acquisition replaces (by tile, time and baseline)."""
    best: dict[tuple[str, ...], pystac.Item] = {}
    for item in items:
        known = item.properties
        tile = known.get("grid:code") or known.get("s2:mgrs_tile")
        taken = (str(item.collection_id), str(known.get("platform")), str(known.get("datetime")), str(tile))
        key = taken if tile else (str(item.collection_id), item.id)
        if key not in best or _processing(item) > _processing(best[key]):
            best[key] = item
    if len(best) < len(items):
        warnings.warn(f"{len(items) - len(best)} of {len(items)} items found are left out, because a later processing "
                      "of the same acquisition is among the others", stacklevel=2)
    return list(best.values())


def _processing(item: "pystac.Item") -> tuple[str, str]:
    known = item.properties
    return str(known.get("s2:processing_baseline") or known.get("processing:version") or ""), item.id


def cloud_cover(item: "pystac.Item") -> float:
    """Percent by eo:cloud_cover; infinite where the item does not say."""
    value = item.properties.get("eo:cloud_cover")
    return math.inf if value is None else float(value)


def cover(item: "pystac.Item", area: Box) -> float:
    """Share of the area within the item's footprint, 0 to 1, in degrees (close enough for an area of one scene)."""
    if item.geometry is None:
        return 0.0
    box = shapely.box(*area)
    footprint = shapely.make_valid(shapely.geometry.shape(item.geometry))
    return float(footprint.intersection(box).area / box.area)


def level(item: "pystac.Item") -> str:
    """L1C (top of the atmosphere) or L2A (its bottom) where the item says it, else ""."""
    text = f"{item.properties.get('processing:level', '')} {item.properties.get('s2:product_type', '')}".upper()
    return "L1C" if "1C" in text else "L2A" if "2A" in text else ""


def check_one_level(items: Sequence["pystac.Item"], params: StacParams) -> None:
    """See that reflectance at the top and at the bottom of the atmosphere do not mix.

    Raises:
        SceneError: the items differ in processing level.
    """
    levels = {item.id: level(item) for item in items}
    if len(set(levels.values())) > 1:
        listed = ", ".join(f"{name} {level or 'unsaid'}" for name, level in levels.items())
        remedy = "" if params.choice == "median" else ", or set acquire.mixed_levels"
        raise SceneError("items must be of one processing level, because L1C and L2A are different quantities: got "
                         f"{listed}; name one of {list(params.collections)} in acquire.stac.collections{remedy}")


def _one_line(error: Exception) -> str:
    return scrubbed(" ".join(str(error).split()))[:300]
