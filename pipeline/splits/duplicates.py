"""The same picture in train and in a held-out part, which georeferencing does not reveal: a scene given twice, say.

Windows of half a block or less are laid around landmarks, so that copies shifted by any number of pixels are met (see
`pipeline.splits.landmarks`). A window lies in one part, is valid throughout and has texture: still water and nodata
are left out. Each held-out window is compared with every train window by signature; the most alike is then compared in
detail: the correlation of the differences between neighbouring pixels, band by band, of which the lowest counts.

Shape legend: N windows, S side of a window, B bands.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import IntegrityError
from pipeline.fanout import fan_out
from pipeline.params.spatial_split import SplitParams
from pipeline.scenes.store import Scene, SceneStore
from pipeline.seeding import generator
from pipeline.splits.buffer import HELD_OUT
from pipeline.splits.landmarks import (
    CELLS,
    TEXTURE,
    Strip,
    Vector,
    band_weights,
    landmarks,
    share_inside,
    signatures,
    strips,
)
from pipeline.splits.split import Part, Split
from pipeline.types import AnyArray, FloatArray, UInt8Array

#: Largest side of a window in pixels; the least is CELLS.
_SIDE = 32

#: Held-out windows that are looked at in all, about; more are sampled. Train windows compared with them in one go.
_HELD_OUT_WINDOWS, _AT_ONCE = 8000, 1024

#: Signatures less alike than this are not compared in detail.
_ALIKE = 0.9

#: From this correlation of detail on, pictures are the same but for gain, offset and rounding.
_SAME = 0.99999

#: Differences count up to this many times their third quartile, so that a bright spot or an edge does not decide.
_CLIP = 3.0

#: A band has detail if its differences deviate by more than so many roundings of float32.
_ROUNDING = 4 * 2.0**-23


@dataclass(frozen=True)
class _Windows:
    """Windows of one scene: upper left corners, signatures, and the fold they lie in."""

    row: npt.NDArray[np.intp]
    col: npt.NDArray[np.intp]
    signature: FloatArray
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
    """What was looked at and found; `pairs` come with the highest correlation first.

    `textured_blocks` are held-out blocks with texture on a quarter of their ground; `examined_blocks` those of them
    that have a window.
    """

    side_px: int
    held_out_windows: int
    train_windows: int
    textured_blocks: int
    examined_blocks: int
    pairs: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; at most 20 pairs are listed."""
        return {"window_px": self.side_px, "held_out_windows": self.held_out_windows,
                "train_windows": self.train_windows, "textured_blocks": self.textured_blocks,
                "examined_blocks": self.examined_blocks, "same": sum(p.same for p in self.pairs),
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
        if 2 * self.examined_blocks < self.textured_blocks:
            warnings.warn("spatial_split looks for the same picture in train and held-out ground, but only "
                          f"{self.examined_blocks} of {self.textured_blocks} held-out blocks with texture could be "
                          f"examined: blocks of {params.block_m:g} m leave little room for windows of "
                          f"{max(self.side_px, CELLS)} px; make blocks longer, or see yourself that no scene is given "
                          "twice", stacklevel=2)


@dataclass(frozen=True)
class _Job:
    split: Split
    scene: Scene
    weights: Vector
    side: int
    #: Pixels that landmarks are apart.
    distance: int
    block_m: float
    seed: int
    #: Share of the held-out windows that is kept.
    share: float


def find_duplicates(split: Split, store: SceneStore, params: SplitParams, seed: int) -> Duplicates:
    """Compare a written split's held-out windows with its train windows, scene by scene of the latter."""
    block_px = min(min(params.block_m / m for m in scene.grid.ground_pixel_m) for scene in store)
    side = min(_SIDE, max(CELLS, int(block_px / 2 + 0.5) // CELLS * CELLS))
    # A block has room for a window at a few landmarks; noise has one in a square of this side.
    distance = min(side // 4, max(1, int(0.35 * (block_px - side + 1) - 0.5)))
    expected = sum(s.grid.height * s.grid.width for s in store) / (2 * distance + 1) ** 2
    expected *= params.test_fraction + (1 - params.test_fraction) / params.folds
    share = min(1.0, _HELD_OUT_WINDOWS / max(1.0, expected))
    weights = band_weights(store)
    jobs = [_Job(split, scene, weights, side, distance, params.block_m, seed, share) for scene in store]
    held = fan_out(_held_out, jobs, "held-out windows")
    signature = np.concatenate([windows.signature for windows, _, _ in held])
    matches = fan_out(_most_alike, [(job, signature) for job in jobs], "train windows")
    pairs = _compared(split, store, [windows for windows, _, _ in held], matches, side, params.duplicate_correlation)
    return Duplicates(side, len(signature), sum(m[3] for m in matches), sum(textured for _, textured, _ in held),
                      sum(examined for _, _, examined in held), tuple(pairs))


def _held_out(job: _Job) -> tuple[_Windows, int, int]:
    """Held-out windows of a scene (a share of them), its held-out blocks with texture, and how many have a window."""
    width, height = job.scene.grid.ground_pixel_m
    enough = TEXTURE * (job.block_m / width) * (job.block_m / height)
    blocks, found = job.split.block_map(job.scene.id), [_NONE]
    textured: dict[int, int] = {}
    examined: set[int] = set()
    for strip, windows in _windows(job, HELD_OUT):
        own = slice(strip.first, strip.last)
        fold = job.split.fold_map(job.scene.id)[own]
        held = np.logical_or.reduce([job.split.mask(fold, part) for part in HELD_OUT]) & strip.textured[strip.rows]
        ids = blocks[own][held]
        if ids.size:
            first = int(ids.min())
            for block, pixels in enumerate(np.bincount(ids - first).tolist(), first):
                textured[block] = textured.get(block, 0) + pixels
        examined.update(blocks[windows.row + job.side // 2, windows.col + job.side // 2].tolist())
        if job.share < 1:
            kept = generator(job.seed, "duplicates", job.scene.id, strip.first).random(len(windows.row)) < job.share
            windows = _Windows(*(getattr(windows, f)[kept] for f in _FIELDS))
        found.append(windows)
    known = {block for block, pixels in textured.items() if pixels >= enough}
    joined = _Windows(*(np.concatenate([getattr(w, f) for w in found]) for f in _FIELDS))
    return joined, len(known), len(known & examined)


_FIELDS = ("row", "col", "signature", "fold")
_NONE = _Windows(np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp), np.zeros((0, CELLS**2), dtype=np.float32),
                 np.zeros(0, dtype=np.uint8))


def _most_alike(given: tuple[_Job, FloatArray]) -> tuple[FloatArray, AnyArray, AnyArray, int]:
    """For each held-out signature the likeness, row and column of the most alike train window; how many there are."""
    job, signature = given
    best, row, col = np.full(len(signature), -1, np.float32), *np.zeros((2, len(signature)), dtype=np.intp)
    count = 0
    for _, windows in _windows(job, ("train",)):
        count += len(windows.row)
        for start in range(0, len(windows.row) if len(signature) else 0, _AT_ONCE):
            likeness = signature @ windows.signature[start:start + _AT_ONCE].T
            nearest = likeness.argmax(axis=1)
            value = likeness[np.arange(len(signature)), nearest]
            better = value > best + 1e-6
            best[better], at = value[better], nearest[better] + start
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
    """The lowest correlation of two windows' detail (SSB each) over the bands with detail; 0 where no band has any.

    Bands do not outvote each other by their units, nor does one that is smooth, as elevation is, speak for the rest.
    """
    found = []
    for b in range(one.shape[2]):
        first, second = _detail(one[..., b]), _detail(other[..., b])
        if first is not None and second is not None:
            found.append(float(first @ second))
        elif first is not None or second is not None:
            return 0.0
    return min(found, default=0.0)


def _detail(window_SS: AnyArray) -> Vector | None:
    """Differences between neighbours less the window's slope, clipped, of mean 0 and length 1; None without detail."""
    differences = [np.diff(window_SS, axis=axis).ravel() for axis in (0, 1)]
    detail = np.concatenate([d - np.median(d) for d in differences])
    limit = _CLIP * np.quantile(np.abs(detail), 0.75)
    if limit <= _CLIP * _ROUNDING * np.abs(window_SS).max():
        return None
    detail = detail.clip(-limit, limit)
    detail -= detail.mean()
    result: Vector = detail / np.linalg.norm(detail)
    return result


def _windows(job: _Job, parts: Sequence[Part]) -> Iterator[tuple[Strip, _Windows]]:
    """The windows of a scene around its landmarks that lie in one of the parts and have texture, strip by strip."""
    side, fold_map = job.side, job.split.fold_map(job.scene.id)
    for strip in strips(job.scene, job.weights, side):
        height, width = strip.sums.shape
        row, col = (place - side // 2 for place in landmarks(strip, job.distance))
        fits = (row >= 0) & (row + side <= height) & (col >= 0) & (col + side <= width)
        row, col = row[fits], col[fits]
        fold = fold_map[strip.top:strip.top + height]
        pure = np.zeros(len(row), dtype=bool)
        for part in parts:
            inside = job.split.mask(fold, part) & strip.valid
            here = np.flatnonzero(inside[row, col])
            pure[here] = share_inside(inside, row[here], col[here], side) == 1
        row, col = row[pure], col[pure]
        kept = share_inside(strip.textured, row, col, side) >= TEXTURE
        row, col = row[kept], col[kept]
        yield strip, _Windows(row + strip.top, col, signatures(strip, row, col, side), fold[row, col])
