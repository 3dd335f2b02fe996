"""The same picture in train and in a held-out part, which georeferencing does not reveal: a scene given twice, say.

Windows lie on a lattice and, so that copies shifted by any number of pixels are met too, around the brightest pixel of
each lattice cell (winnowing after Schleimer, Wilkerson & Aiken 2003, in two dimensions). A window lies in one part and
is valid throughout. Each held-out window is compared with every train window by a thumbnail of 8 x 8 cells,
standardised to mean 0 and length 1; the most alike is then compared in detail: the correlation of the differences
between neighbouring pixels, over all bands. Windows without detail (still water, nodata) are left out.

Shape legend: N windows, S side of a window, B bands, D numbers of a thumbnail.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from pipeline.errors import IntegrityError
from pipeline.fanout import fan_out
from pipeline.params.spatial_split import SplitParams
from pipeline.scenes.store import Scene, SceneStore
from pipeline.seeding import generator
from pipeline.splits.buffer import HELD_OUT
from pipeline.splits.split import Part, Split
from pipeline.types import AnyArray, BoolArray, FloatArray, UInt8Array

#: Largest and least side of a window in pixels, and cells along the side of a thumbnail.
_SIDE, _LEAST_SIDE, _THUMBNAIL = 32, 16, 8

#: Held-out windows that are looked at in all; more are sampled.
_HELD_OUT_WINDOWS = 8000

#: Thumbnails less alike than this are not compared in detail.
_ALIKE = 0.95

#: From this correlation of detail on, pictures are the same but for gain, offset and rounding.
_SAME = 0.99999

#: Share of a window's neighbouring pixels that must differ for it to have detail.
_DETAIL = 0.25


@dataclass(frozen=True)
class _Windows:
    """Windows of one scene: upper left corners, thumbnails ND, and the fold they lie in."""

    row: npt.NDArray[np.intp]
    col: npt.NDArray[np.intp]
    thumbnail: FloatArray
    fold: UInt8Array


@dataclass(frozen=True)
class Pair:
    """A held-out and a train window (scene, row, column of the upper left pixel) and their detail's correlation."""

    held_out: tuple[str, int, int]
    part: str
    train: tuple[str, int, int]
    correlation: float

    @property
    def same(self) -> bool:
        """Is it the same picture but for gain, offset and rounding?"""
        return self.correlation >= _SAME

    def __str__(self) -> str:
        (one, row, col), (other, other_row, other_col) = self.held_out, self.train
        return (f"the {self.part} window at row {row}, column {col} of scene {one} and the train window at row "
                f"{other_row}, column {other_col} of scene {other}")


@dataclass(frozen=True)
class Duplicates:
    """What was looked at and found; `pairs` come with the highest correlation first."""

    side_px: int
    held_out_windows: int
    train_windows: int
    pairs: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; at most 20 pairs are listed."""
        return {"window_px": self.side_px, "held_out_windows": self.held_out_windows,
                "train_windows": self.train_windows, "same": sum(p.same for p in self.pairs),
                "near": sum(not p.same for p in self.pairs),
                "pairs": [{"held_out": list(p.held_out), "part": p.part, "train": list(p.train),
                           "correlation": round(p.correlation, 4)} for p in self.pairs[:20]]}

    def refuse_or_warn(self, params: SplitParams) -> None:
        """Answer what was found as the params say.

        Raises:
            IntegrityError: the same picture lies in train and in a held-out part, and `near_duplicates` is `error`.
        """
        same = [pair for pair in self.pairs if pair.same]
        if same and params.near_duplicates == "error":
            raise IntegrityError(f"train and held-out ground must not show the same picture: {len(same)} of "
                                 f"{self.held_out_windows} held-out windows do, first {same[0]}; remove the copy, "
                                 "mend the georeference, or set spatial_split.near_duplicates: report")
        if self.pairs:
            warnings.warn(f"{len(self.pairs)} of {self.held_out_windows} held-out windows look (nearly) like train "
                          f"windows, first {self.pairs[0]} (correlation {self.pairs[0].correlation:.4f}); see "
                          "near_duplicates in certificate.json", stacklevel=2)


@dataclass(frozen=True)
class _Job:
    split: Split
    scene: Scene
    side: int
    share: float
    seed: int


def find_duplicates(split: Split, store: SceneStore, params: SplitParams, seed: int) -> Duplicates:
    """Compare a written split's held-out windows with its train windows, scene by scene of the latter."""
    block_px = min(min(params.block_m / m for m in scene.grid.ground_pixel_m) for scene in store)
    side = min(_SIDE, int(block_px + 0.5)) // _THUMBNAIL * _THUMBNAIL
    if side < _LEAST_SIDE:
        return Duplicates(side, 0, 0, ())
    cells = sum((s.grid.height // side) * (s.grid.width // side) for s in store)
    share = min(1.0, math.sqrt(_HELD_OUT_WINDOWS / max(2 * cells, 1)))  # of the lattice's rows, and of windows in them
    held = fan_out(_held_out, [_Job(split, scene, side, share, seed) for scene in store], "held-out windows")
    thumbnails = np.concatenate([windows.thumbnail for windows in held])
    jobs = [(_Job(split, scene, side, 1.0, seed), thumbnails) for scene in store]
    matches = fan_out(_most_alike, jobs, "train windows")
    pairs = _compared(split, store, held, matches, side, params.duplicate_correlation)
    return Duplicates(side, len(thumbnails), sum(m[3] for m in matches), tuple(pairs))


def _held_out(job: _Job) -> _Windows:
    found = list(_window_bands(job, HELD_OUT))
    return _Windows(*(np.concatenate([getattr(w, f) for w in found]) for f in ("row", "col", "thumbnail", "fold")))


def _most_alike(given: tuple[_Job, FloatArray]) -> tuple[FloatArray, AnyArray, AnyArray, int]:
    """For each held-out thumbnail the likeness, row and column of the most alike train window; how many there are."""
    job, thumbnails = given
    best, row, col = np.full(len(thumbnails), -1, np.float32), *np.zeros((2, len(thumbnails)), dtype=np.intp)
    count = 0
    for windows in _window_bands(job, ("train",)):
        count += len(windows.row)
        if not len(windows.row) or not len(thumbnails):
            continue
        likeness = thumbnails @ windows.thumbnail.T
        nearest = likeness.argmax(axis=1)
        value = likeness[np.arange(len(thumbnails)), nearest]
        better = value > best + 1e-6
        best[better], at = value[better], nearest[better]
        row[better], col[better] = windows.row[at], windows.col[at]
    return best, row, col, count


def _compared(split: Split, store: SceneStore, held: list[_Windows],
              matches: list[tuple[FloatArray, AnyArray, AnyArray, int]], side: int, threshold: float) -> list[Pair]:
    """The pairs whose detail correlates above the threshold, highest first."""
    windows = [(scene, "val" if f == split.val_fold else "test", int(r), int(c))
               for scene, w in zip(store, held, strict=True) for r, c, f in zip(w.row, w.col, w.fold, strict=True)]
    if not windows:
        return []
    best = np.stack([match[0] for match in matches])
    pairs = []
    for n in np.flatnonzero(best.max(axis=0) >= _ALIKE):
        scene, part, row, col = windows[n]
        other = int(best[:, n].argmax())
        there, near = store.scenes[other], matches[other]
        at = int(near[1][n]), int(near[2][n])
        correlation = _detail_correlation(_cut(scene, row, col, side), _cut(there, *at, side))
        if correlation >= threshold:
            pairs.append(Pair((scene.id, row, col), part, (there.id, *at), correlation))
    return sorted(pairs, key=lambda p: (-round(p.correlation, 6), p.held_out))


def _cut(scene: Scene, row: int, col: int, side: int) -> AnyArray:
    return scene.image[row:row + side, col:col + side].astype(np.float64)


def _detail_correlation(one: AnyArray, other: AnyArray) -> float:
    """Correlation of the differences between neighbours along rows and columns, over all bands (SSB each)."""
    a, b = (np.concatenate([np.diff(w, axis=0).ravel(), np.diff(w, axis=1).ravel()]) for w in (one, other))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def _window_bands(job: _Job, parts: Sequence[Part]) -> Iterator[_Windows]:
    """The windows of a scene that lie in one of the parts, lattice row by lattice row."""
    side, scene, split = job.side, job.scene, job.split
    empty = np.zeros(0, dtype=np.intp)
    yield _Windows(empty, empty, np.zeros((0, _THUMBNAIL**2), dtype=np.float32), np.zeros(0, dtype=np.uint8))
    fold_map = split.fold_map(scene.id)
    for lattice_row in range(scene.grid.height // side):
        rng = generator(job.seed, "duplicates", scene.id, lattice_row)
        if rng.random() >= job.share:
            continue
        top = max(0, lattice_row * side - side // 2)
        bottom = min(scene.grid.height, (lattice_row + 1) * side + side // 2)
        fold, valid = fold_map[top:bottom], scene.valid[top:bottom] > 0
        gray = scene.image[top:bottom, :, 0].astype(np.float32)
        for band in range(1, len(scene.bands)):
            gray += scene.image[top:bottom, :, band]
        row, col = _corners(gray, lattice_row * side - top, side)
        if job.share < 1:
            kept = rng.random(len(row)) < job.share
            row, col = row[kept], col[kept]
        pure = np.logical_or.reduce([_all_inside(split.mask(fold, part) & valid, row, col, side) for part in parts])
        row, col = row[pure], col[pure]
        if len(row):
            thumbnail, detailed = _thumbnails(sliding_window_view(gray, (side, side))[row, col])
            row, col = row[detailed], col[detailed]
            yield _Windows(row + top, col, thumbnail[detailed], fold[row, col])


def _corners(gray: AnyArray, first: int, side: int) -> tuple[AnyArray, AnyArray]:
    """Upper left corners in the band of the lattice's windows, and of those around each cell's brightest pixel."""
    cells = gray.shape[1] // side
    lattice_col = np.arange(cells) * side
    finite = np.where(np.isfinite(gray), gray, -np.inf)[first:first + side, :cells * side]
    by_cell = finite.reshape(side, cells, side).transpose(1, 0, 2).reshape(cells, -1)
    at_row, at_col = np.divmod(by_cell.argmax(axis=1), side)
    row, col = first + at_row - side // 2, lattice_col + at_col - side // 2
    fits = (row >= 0) & (row + side <= gray.shape[0]) & (col >= 0) & (col + side <= gray.shape[1])
    return (np.concatenate([np.full(cells, first), row[fits]]), np.concatenate([lattice_col, col[fits]]))


def _all_inside(inside: BoolArray, row: AnyArray, col: AnyArray, side: int) -> BoolArray:
    """Which windows lie inside throughout, from a summed-area table."""
    table = np.zeros((inside.shape[0] + 1, inside.shape[1] + 1), dtype=np.int32)
    np.cumsum(np.cumsum(inside, axis=0, dtype=np.int32), axis=1, out=table[1:, 1:])
    within = (table[row + side, col + side] - table[row, col + side] - table[row + side, col] + table[row, col])
    return np.asarray(within == side * side)


def _thumbnails(pixels_NSS: AnyArray) -> tuple[FloatArray, BoolArray]:
    """Thumbnails ND of mean 0 and length 1, and which windows have detail."""
    count, side = len(pixels_NSS), pixels_NSS.shape[1]
    finite = np.asarray(np.isfinite(pixels_NSS).all(axis=(1, 2)))
    pixels = np.where(finite[:, None, None], pixels_NSS, 0)
    cell = side // _THUMBNAIL
    small = pixels.reshape(count, _THUMBNAIL, cell, side).sum(axis=2).reshape(count, -1, cell).sum(axis=2)
    small = small.astype(np.float64) / cell**2
    small -= small.mean(axis=1, keepdims=True)
    length = np.linalg.norm(small, axis=1)
    differs = (np.diff(pixels, axis=2) != 0).mean(axis=(1, 2)) + (np.diff(pixels, axis=1) != 0).mean(axis=(1, 2))
    spread = np.abs(pixels).max(axis=(1, 2), initial=1e-30)
    detailed = finite & (differs >= 2 * _DETAIL) & (length > 1e-6 * spread)
    return (small / np.where(length > 0, length, 1)[:, None]).astype(np.float32), detailed
