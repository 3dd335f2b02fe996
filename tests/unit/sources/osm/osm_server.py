"""An Overpass API (interpreter and status) and a Nominatim (search) over a few elements, answering as they do."""

import json
import re
from typing import Any
from urllib.parse import parse_qs

from pipeline.params.acquire_remote import OsmParams
from tests.unit.sources.loopback import Answer, Loopback, Request

#: South-west corner of the made-up place, in degrees; elements are drawn in steps of 0.001 degrees from it.
LON, LAT, STEP = 106.81, -6.25, 0.001


class OsmServer(Loopback):
    """Both services at one address: /api and /nominatim."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[dict[str, Any]] = []
        self.places: list[dict[str, Any]] = []
        self.base = "2024-05-17T08:00:00Z"
        self.remark = ""
        self.slots = 2
        self.next_id = 1

    def nodes(self, *points: tuple[float, float], tags: dict[str, str] | None = None) -> list[int]:
        ids = []
        for x, y in points:
            node = {"type": "node", "id": self.next_id,
                    "lon": round(LON + x * STEP, 7), "lat": round(LAT + y * STEP, 7)}
            self.elements.append({**node, **({"tags": tags} if tags else {})})
            ids.append(self.next_id)
            self.next_id += 1
        return ids

    def way(self, id_: int, points: list[tuple[float, float]], closed: bool = True, **tags: str) -> None:
        ids = self.nodes(*points)
        self.elements.append({"type": "way", "id": id_, "nodes": ids + ids[:1] * closed, "tags": tags})

    def square(self, id_: int, left: float, bottom: float, side: float = 2, **tags: str) -> None:
        right, top = left + side, bottom + side
        self.way(id_, [(left, bottom), (right, bottom), (right, top), (left, top)], **tags)

    def relation(self, id_: int, outer: int, inner: int, **tags: str) -> None:
        members = [{"type": "way", "ref": outer, "role": "outer"}, {"type": "way", "ref": inner, "role": "inner"}]
        self.elements.append({"type": "relation", "id": id_, "members": members,
                              "tags": {"type": "multipolygon", **tags}})

    def params(self, **changes: Any) -> OsmParams:
        given = {"tags": {"landuse": {"residential": "town"}, "natural": {"water": "water"}}, "url": f"{self.url}/api",
                 "nominatim_url": f"{self.url}/nominatim/", "rate_limit": False,
                 "retry": {"times": 2, "wait_s": 0, "timeout_s": 10}}
        return OsmParams.model_validate({**given, **changes})

    def queries(self) -> list[str]:
        return [parse_qs(r.body.decode())["data"][0] for r in self.requests if r.path == "/api/interpreter"]

    def answer(self, request: Request) -> Answer:
        match request.path:
            case "/api/status":
                text = ("Connected as: 1\nCurrent time: 2024-05-17T08:00:00Z\nAnnounced endpoint: none\n"
                        f"Rate limit: {self.slots}\n2 slots available now.\nCurrently running queries:\n")
                return Answer(200, text.encode(), "text/plain")
            case "/api/interpreter":
                return Answer(200, json.dumps(self._overpass(parse_qs(request.body.decode())["data"][0])).encode())
            case "/nominatim/search":
                wanted = request.query["q"][0]
                return Answer(200, json.dumps([p for p in self.places if p["name"] == wanted]).encode())
        return Answer(404, b"<html>not here</html>", "text/html")

    def _overpass(self, query: str) -> dict[str, Any]:
        """All elements one of whose tags the query has, and what they are made of, as `(._;>;)` adds."""
        wanted = set(re.findall(r"\['([^']+)'(?:='([^']*)')?\]", query))
        hits = [e for e in self.elements
                if any(k in e.get("tags", {}) and v in ("", e["tags"][k]) for k, v in wanted)]
        members = {m["ref"] for e in hits for m in e.get("members", [])}
        hits += [e for e in self.elements if e["type"] == "way" and e["id"] in members and e not in hits]
        corners = {n for e in hits for n in e.get("nodes", [])}
        hits += [e for e in self.elements if e["type"] == "node" and e["id"] in corners and e not in hits]
        return {"version": 0.6, "generator": "Overpass API loopback",
                "osm3s": {"timestamp_osm_base": self.base, "copyright": "ODbL"}, "elements": hits,
                **({"remark": self.remark} if self.remark else {})}

    def add_place(self, name: str, left: float, bottom: float, side: float, kind: str = "Polygon") -> None:
        x, y, s = LON + left * STEP, LAT + bottom * STEP, side * STEP
        ring = [[x, y], [x + s, y], [x + s, y + s], [x, y + s], [x, y]]
        shape = {"type": kind, "coordinates": [ring] if kind == "Polygon" else ring[0]}
        self.places.append({
            "place_id": 1, "osm_type": "relation", "osm_id": 7, "lat": str(y), "lon": str(x), "class": "boundary",
            "type": "administrative", "place_rank": 1, "importance": 0.5, "addresstype": "city", "name": name,
            "display_name": name, "boundingbox": [str(y), str(y + s), str(x), str(x + s)], "geojson": shape})
