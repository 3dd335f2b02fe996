"""What rules do to the outlines they meet: cut claimed ground out of them, or drop them whole.

Each outline is overlaid with the claimed ground traced in its own window, so no overlay is larger than its outline;
vast outlines are overlaid in parts, and the parts united again.
"""

from dataclasses import dataclass

import numpy as np
import shapely

from pipeline.geo.grid import Grid
from pipeline.geo.rings import trace_windows
from pipeline.labels.ledger import ScenePage
from pipeline.labels.polygons import Polygons, polygonal, shares_ground, union_by
from pipeline.labels.threads import in_threads
from pipeline.params.refine_labels import IndexRule
from pipeline.types import AnyArray, BoolArray, UInt8Array

#: Outlines are overlaid in parts that end at the edges of tiles of this side.
_TILE_PX = 256

#: An overlap below this share of a pixel is rounding along a common edge.
_NOTHING = 1e-6


@dataclass(frozen=True)
class Claims:
    """The ground that rules have claimed: 0 = none, k + 1 = rule k, HW; and its grid."""

    map: UInt8Array
    grid: Grid

    @property
    def nothing(self) -> float:
        """Areas (in CRS units) up to this are rounding."""
        return _NOTHING * abs(self.grid.transform.determinant)


@dataclass(frozen=True)
class Carved:
    """Outlines after the rules.

    Attributes:
        outlines: what is left of them.
        pieces: ground cut out of them, by rule.
        covered: polygons that derived ground stays out of: the outlines as they came, but for those a rule dropped.
    """

    outlines: Polygons
    pieces: list[Polygons]
    covered: AnyArray


@dataclass(frozen=True)
class _Parts:
    """Outlines, or parts of vast ones: shapes, the outline each belongs to, its window (row, col, height, width)."""

    shapes: AnyArray
    outline: AnyArray
    boxes: AnyArray

    def __getitem__(self, where: AnyArray) -> "_Parts":
        return _Parts(self.shapes[where], self.outline[where], self.boxes[where])

    @classmethod
    def of(cls, shapes: AnyArray, outline: AnyArray, grid: Grid) -> "_Parts":
        """All parts of some outlines, by outline."""
        boxes = _pixel_boxes(shapes, grid)
        vast = (boxes[:, 2:] > _TILE_PX).any(axis=1)
        small = cls(shapes[~vast], outline[~vast], boxes[~vast])
        if not vast.any():
            return small
        tiles = [(i, row, col) for i, (r, c, h, w) in zip(np.flatnonzero(vast), boxes[vast], strict=True)
                 for row in range(r - r % _TILE_PX, r + h, _TILE_PX)
                 for col in range(c - c % _TILE_PX, c + w, _TILE_PX)]
        which, row, col = np.array(tiles).T
        height, width = np.minimum(_TILE_PX, grid.height - row), np.minimum(_TILE_PX, grid.width - col)
        corners = np.stack([np.stack([col, col + width, col + width, col, col], axis=1),
                            np.stack([row, row, row + height, row + height, row], axis=1)], axis=2)
        frames = shapely.polygons(_on_map(corners.astype(np.float64), grid))
        cut = polygonal(in_threads(shapely.intersection, shapes[which], frames))
        held = ~shapely.is_empty(cut)
        boxes_cut = np.stack([row, col, height, width], axis=1)
        joined = cls(np.concatenate([small.shapes, cut[held]]), np.concatenate([small.outline, outline[which][held]]),
                     np.concatenate([small.boxes, boxes_cut[held]]))
        return joined[np.argsort(joined.outline, kind="stable")]


def carve(outlines: Polygons, rules: tuple[IndexRule, ...], claims: Claims, reasons: list[str],
          page: ScenePage) -> Carved:
    """Let the rules act on the outlines of their classes, in order; every change is booked.

    Args:
        outlines: pairwise disjoint.
        rules: the rules.
        claims: the ground they have claimed.
        reasons: each rule in words.
        page: the scene's page of the ledger.
    """
    acts = _Acts(outlines, rules, claims, page)
    for k in range(len(rules)):
        acts.act(k)
    return acts.finish(reasons)


class _Acts:
    """The rules' acts on outlines, gathered first: an outline is cut once, by the ground of all rules that carve it."""

    def __init__(self, outlines: Polygons, rules: tuple[IndexRule, ...], claims: Claims, page: ScenePage) -> None:
        self._outlines, self._rules, self._claims, self._page = outlines, rules, claims, page
        self._area = outlines.area_m2.copy()
        self._nothing = claims.nothing
        self._cuts = np.zeros((len(outlines), len(rules)), dtype=np.bool_)
        self._dropped = np.zeros(len(outlines), dtype=np.bool_)
        self._subject = np.zeros((len(rules), len(outlines)), dtype=np.bool_)
        for k, rule in enumerate(rules):
            self._subject[k] = (rule.action != "keep") & np.isin(outlines.classes, rule.carve_from)
        met = np.flatnonzero(self._subject.any(axis=0))
        self._parts = _Parts.of(outlines.shapes[met], met, claims.grid)
        self._pieces: list[tuple[AnyArray, AnyArray, AnyArray]] = []
        self._before: list[AnyArray] = []

    def act(self, k: int) -> None:
        """Find what rule k's ground covers of each outline, and decide what is done."""
        rule, count = self._rules[k], len(self._outlines)
        parts = self._parts[(self._subject[k] & ~self._dropped)[self._parts.outline]]
        ground, has = self._ground(parts, np.tile(np.arange(len(self._rules)) == k, (len(parts.outline), 1)))
        cut = polygonal(in_threads(shapely.intersection, parts.shapes[has], ground))
        owner = parts.outline[has]
        real = np.bincount(owner, weights=shapely.area(cut), minlength=count) > self._nothing
        covered = np.bincount(owner, weights=self._page.area_m2(cut), minlength=count)
        hit = real & (covered >= rule.min_fraction * self._area)
        self._before.append(self._area.copy())
        if rule.action == "drop":
            self._dropped |= hit
            self._pieces.append((np.empty(0, dtype=object), np.empty(0), np.flatnonzero(hit)))
            return
        self._cuts[:, k] = hit
        mine = hit[owner] & (shapely.area(cut) > 0)
        rows = np.flatnonzero(hit)
        united = union_by(cut[mine], np.searchsorted(rows, owner[mine]), len(rows))
        areas = self._page.area_m2(united)
        self._area[rows] = np.maximum(self._area[rows] - areas, 0)
        self._pieces.append((united, areas, rows))

    def _ground(self, parts: _Parts, rules: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Ground of chosen rules (bool, a row for each part) in the parts that have any, and which parts these are."""
        tables, table_of = np.unique(rules, axis=0, return_inverse=True)
        looks = np.zeros((len(tables), 256), dtype=np.uint8)
        for look, kept in zip(looks, tables, strict=True):
            look[np.flatnonzero(kept) + 1] = 1
        traced = trace_windows(self._claims.map, self._claims.grid.transform, parts.boxes, looks, table_of.ravel())
        has, index = np.unique(traced.windows, return_inverse=True)
        # Areas of a window touch in points at most, so several of them are one valid multipolygon.
        return np.asarray(shapely.multipolygons(traced.polygons, indices=index)), has

    def finish(self, reasons: list[str]) -> Carved:
        """Cut the outlines, and book everything rule by rule."""
        cut = self._cuts.any(axis=1) & ~self._dropped
        rests = self._rests(cut)
        areas = np.where(shapely.area(rests) > self._nothing, self._page.area_m2(rests), 0)
        last = np.full(len(cut), -1)
        for k in range(len(self._rules)):
            last[cut & self._cuts[:, k]] = k
        found = []
        for k, (rule, reason, (shapes, piece_areas, rows)) in enumerate(
                zip(self._rules, reasons, self._pieces, strict=True)):
            before, own = self._before[k][rows], self._outlines[rows]
            own = own.reshaped(own.shapes, before)
            if rule.action == "drop":
                self._page.ledger.book(self._page.scene, own, "dropped", reason, np.zeros(len(rows)))
                continue
            after = np.where(last[rows] == k, areas[rows], np.maximum(before - piece_areas, 0))
            done = np.where((last[rows] == k) & (after == 0), "dropped", "carved").astype(object)
            self._page.ledger.book(self._page.scene, own, done, reason, after)
            found.append(self._reclassed(rule, reason, shapes, own.source_ids))
        kept = ~self._dropped & (areas > 0)
        return Carved(self._outlines.reshaped(rests, areas)[kept], found, self._covered())

    def _reclassed(self, rule: IndexRule, reason: str, shapes: AnyArray, sources: AnyArray) -> Polygons:
        names = np.array([f"{s}/{rule.name}" for s in sources], dtype=object)
        why = np.array([f"carved out of {s}: {reason}" for s in sources], dtype=object)
        return self._page.add(np.full(len(sources), rule.becomes, dtype=object), names, shapes, why)

    def _rests(self, cut: BoolArray) -> AnyArray:
        """All outlines' shapes, those at `cut` without the ground of the rules that carve them."""
        parts = self._parts[cut[self._parts.outline]]
        ground, has = self._ground(parts, self._cuts[parts.outline])
        shapes = parts.shapes.copy()
        shapes[has] = in_threads(shapely.difference, shapes[has], ground)
        rows = np.flatnonzero(cut)
        rests: AnyArray = self._outlines.shapes.copy()
        rests[rows] = union_by(polygonal(shapes), np.searchsorted(rows, parts.outline), len(rows))
        return rests

    def _covered(self) -> AnyArray:
        pieces = [shapes[self._dropped[rows]] for shapes, _, rows in self._pieces if len(shapes)]
        covered: AnyArray = np.concatenate([self._outlines.shapes[~self._dropped], *pieces])
        return covered


def _pixel_boxes(shapes: AnyArray, grid: Grid) -> AnyArray:
    """Windows of the grid around polygons, shape N4: row, col, height, width (0 where they lie outside)."""
    left, bottom, right, top = shapely.bounds(shapes).T
    inverse = ~grid.transform
    xs, ys = np.stack([left, right, right, left]), np.stack([top, top, bottom, bottom])
    col, row = inverse.a * xs + inverse.b * ys + inverse.c, inverse.d * xs + inverse.e * ys + inverse.f
    first_row, last_row = (np.clip(a, 0, grid.height) for a in (np.floor(row.min(0)), np.ceil(row.max(0))))
    first_col, last_col = (np.clip(a, 0, grid.width) for a in (np.floor(col.min(0)), np.ceil(col.max(0))))
    return np.stack([first_row, first_col, last_row - first_row, last_col - first_col], axis=1).astype(np.int64)


def _on_map(corners: AnyArray, grid: Grid) -> AnyArray:
    """Columns and rows to map coordinates, last axis 2."""
    t, col, row = grid.transform, corners[..., 0], corners[..., 1]
    return np.stack([t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f], axis=-1)


def outside(claims: Claims, rules: tuple[IndexRule, ...], covered: AnyArray,
            tile_px: int) -> tuple[AnyArray, AnyArray]:
    """Claimed ground of rules that add it, where no polygon of `covered` lies: polygons, and the rule of each.

    Polygons end at the edges of tiles, which keeps every overlay small; they come by rule, then by tile.
    """
    grid = claims.grid
    table = np.zeros((1, 256), dtype=np.uint8)
    for k, rule in enumerate(rules):
        table[0, k + 1] = k + 1 if rule.add else 0
    tiles = np.array([(r, c, min(tile_px, grid.height - r), min(tile_px, grid.width - c))
                      for r in range(0, grid.height, tile_px) for c in range(0, grid.width, tile_px)])
    traced = trace_windows(claims.map, grid.transform, tiles, table)
    order = np.argsort(traced.values, kind="stable")
    shapes, rule_of = traced.polygons[order], traced.values[order].astype(np.int64) - 1
    covers = _Parts.of(covered, np.arange(len(covered)), grid).shapes
    left = _without(shapes, covers)
    held = shapely.area(left) > claims.nothing
    return left[held], rule_of[held]


def _without(shapes: AnyArray, covers: AnyArray) -> AnyArray:
    """Polygons less those that cover them; one cover after another where several do."""
    left = shapes.copy()
    cover, mine = shapely.STRtree(shapes).query(covers)
    meet = shares_ground(covers, cover, shapes, mine)
    cover, mine = cover[meet], mine[meet]
    hidden = np.unique(mine[shapely.covers(covers[cover], shapes[mine])])
    left[hidden] = shapely.Polygon()
    cut = ~np.isin(mine, hidden)
    order = np.lexsort((cover[cut], mine[cut]))
    mine, cover = mine[cut][order], cover[cut][order]
    turn = np.arange(len(mine)) - np.searchsorted(mine, mine)
    for k in range(int(turn.max()) + 1 if len(turn) else 0):
        rows, over = mine[turn == k], cover[turn == k]
        left[rows] = in_threads(shapely.difference, left[rows], covers[over])
    changed = np.unique(mine)
    left[changed] = polygonal(left[changed])
    return left
