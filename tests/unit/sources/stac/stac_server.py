"""A STAC API (core, collections, item search by GET and POST with paging, query) over COGs that it makes itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from pyproj import CRS, Transformer
from shapely.geometry import box, mapping

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.params.acquire_remote import StacParams
from tests.unit.sources.loopback import Answer, Loopback, Request, file_answer

LEFT, TOP, EPSG = 700000, 9310000, 32748
#: 24 x 24 pixels of 10 m, from pixel (20, 30) of a tile: inside by a hair, so that rounding adds no pixels.
AREA_PX = (20, 30, 44, 54)
ROOT = "https://api.stacspec.org/v1.0.0"


def grid(size_px: int, pixel_m: float = 10, left: float = LEFT, epsg: int = EPSG) -> Grid:
    return Grid(CRS.from_epsg(epsg).to_wkt(), Affine(pixel_m, 0, left, 0, -pixel_m, TOP), size_px, size_px)


def lonlat(window_px: tuple[int, int, int, int] = AREA_PX) -> tuple[float, float, float, float]:
    """A lon/lat box whose bounds in the tile's CRS cover the window (left, top, right, bottom in 10 m pixels)."""
    left, top, right, bottom = window_px
    to = Transformer.from_crs(EPSG, 4326, always_xy=True)
    west, south, east, north = to.transform_bounds(LEFT + 10 * left + 4, TOP - 10 * bottom + 4, LEFT + 10 * right - 4,
                                                   TOP - 10 * top - 4)
    return west, south, east, north


class StacServer(Loopback):
    """`page` items a page; `conforms` are the classes below the specification's root."""

    def __init__(self, folder: Path, page: int = 2, conforms: tuple[str, ...] = ("/item-search#query",)) -> None:
        super().__init__()
        self.folder, self.page = folder, page
        self.conforms = ("/core", "/collections", "/ogcapi-features", "/item-search", *conforms)
        self.items: list[dict[str, Any]] = []
        self.has_search = True
        folder.mkdir(parents=True, exist_ok=True)

    def add_asset(self, name: str, values: np.ndarray, where: Grid, nodata: float | None = 0) -> str:
        plain = self.folder / f"plain-{name}"
        raster_io.write(plain, values, where, ["x"] * (values.shape[2] if values.ndim == 3 else 1), nodata)
        raster_io.write_cog(self.folder / name, plain, "nearest")
        return f"{self.url}/assets/{name}"

    def add_item(self, id_: str, hrefs: dict[str, str], cloud: float | None = 10, day: str = "2024-05-17",
                 footprint: Grid | None = None, fields: dict[str, dict[str, Any]] | None = None,
                 **properties: Any) -> None:
        where = footprint or grid(64)
        outline = box(*Transformer.from_crs(where.crs, 4326, always_xy=True).transform_bounds(*where.bounds))
        stated = {} if cloud is None else {"eo:cloud_cover": cloud}
        self.items.append({
            "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": id_, "collection": "s2",
            "geometry": mapping(outline), "bbox": list(outline.bounds),
            "properties": {"datetime": f"{day}T03:00:00Z", **stated, **properties},
            "links": [{"rel": "self", "href": f"{self.url}/collections/s2/items/{id_}?token=secret"}],
            "assets": {key: {"href": href, "type": "image/tiff", **(fields or {}).get(key, {})}
                       for key, href in hrefs.items()},
        })

    def add_scene(self, id_: str, dn: dict[str, int] | None = None, cloud: float | None = 10, size_px: int = 64,
                  scl: np.ndarray | None = None, **properties: Any) -> None:
        """An item with bands of noise around given digital numbers: B02 and B08 at 10 m, B11 at 20 m, an SCL."""
        rng = np.random.default_rng(len(self.items))
        hrefs = {}
        for key, level in {"B02": 300, "B08": 2500, "B11": 1500, **(dn or {})}.items():
            pixel_m = 20 if key == "B11" else 10
            shape = (size_px * 10 // pixel_m,) * 2
            values = rng.integers(max(1, level - 100), level + 100, shape).astype(np.uint16)
            hrefs[key] = self.add_asset(f"{id_}-{key}.tif", values, grid(shape[0], pixel_m))
        classes = np.full((size_px // 2,) * 2, 4, np.uint8) if scl is None else scl
        hrefs["SCL"] = self.add_asset(f"{id_}-SCL.tif", classes, grid(size_px // 2, 20))
        known = {"constellation": "sentinel-2", "s2:processing_baseline": "03.01", **properties}
        self.add_item(id_, hrefs, cloud, footprint=grid(size_px), **known)

    def params(self, **changes: Any) -> StacParams:
        given = {"url": self.url, "collections": ["s2"], "bbox": lonlat(), "datetime": "2024-05-01/2024-05-31",
                 "bands": {"blue": "B02", "nir": "B08", "swir1": "B11"},
                 "retry": {"times": 3, "wait_s": 0, "timeout_s": 5}}
        return StacParams.model_validate({**given, **changes})

    def asset_paths(self, method: str = "GET") -> list[str]:
        return [p.removeprefix("/assets/") for p in self.paths(method) if p.startswith("/assets/")]

    def answer(self, request: Request) -> Answer:
        if request.path.startswith("/assets/"):
            return file_answer(self.folder / request.path.removeprefix("/assets/"), request)
        match request.path.rstrip("/"):
            case "/page":
                return Answer(200, b"<html>welcome</html>", "text/html")
            case "/other":
                return self._json({"type": "Something"})
            case "":
                return self._json(self._landing())
            case "/collections/s2":
                return self._json(self._collection())
            case "/search":
                given = json.loads(request.body) if request.method == "POST" else {
                    k: v[0] for k, v in request.query.items()}
                return self._json(self._search(given, request.method), "application/geo+json")
        return Answer(404, b'{"code": "NotFound", "description": "no such thing"}')

    def _json(self, content: Any, kind: str = "application/json") -> Answer:
        return Answer(200, json.dumps(content).encode(), kind)

    def _landing(self) -> dict[str, Any]:
        links = [{"rel": "self", "href": self.url}, {"rel": "root", "href": self.url},
                 {"rel": "data", "href": f"{self.url}/collections"}]
        if self.has_search:
            links += [{"rel": "search", "href": f"{self.url}/search", "method": m, "type": "application/geo+json"}
                      for m in ("GET", "POST")]
        return {"type": "Catalog", "stac_version": "1.0.0", "id": "loopback", "description": "on loopback",
                "conformsTo": [ROOT + c for c in self.conforms], "links": links}

    def _collection(self) -> dict[str, Any]:
        return {"type": "Collection", "stac_version": "1.0.0", "id": "s2", "description": "scenes",
                "license": "CC-BY-4.0",
                "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
                "links": [{"rel": "self", "href": f"{self.url}/collections/s2"}]}

    def _search(self, given: dict[str, Any], method: str) -> dict[str, Any]:
        collections = given.get("collections", "s2")
        names = collections.split(",") if isinstance(collections, str) else collections
        area = given["bbox"].split(",") if isinstance(given["bbox"], str) else given["bbox"]
        start, _, end = given.get("datetime", "0/9").partition("/")
        query = given.get("query", {})
        most = (json.loads(query) if isinstance(query, str) else query).get("eo:cloud_cover", {}).get("lte", 1000)
        hits = [i for i in self.items if i["collection"] in names and box(*map(float, area)).intersects(box(*i["bbox"]))
                and start <= i["properties"]["datetime"] <= end and i["properties"].get("eo:cloud_cover", 0) <= most]
        first = int(given.get("token", 0))
        count = min(self.page, int(given.get("limit", self.page)))
        links = []
        if first + count < len(hits):
            following: dict[str, Any] = {"rel": "next", "href": f"{self.url}/search", "method": method}
            if method == "POST":
                following |= {"body": {**given, "token": first + count}}
            links.append(following)
        return {"type": "FeatureCollection", "features": hits[first:first + count], "links": links}
