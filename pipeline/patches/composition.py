"""Which classes the pixels of drawn windows are of, and how near to a target composition they can come.

A window laid around a lake shows far more than the lake, and one laid around an isolated outline little but that, so
that shares of draws are not shares of pixels, of uniform draws neither. What windows around the pixels of each pool
show is measured on a fixed number of them; the composition to expect follows from that, as do the shares of draws that
come nearest to a target. Only windows of a lattice show every labelled pixel equally often.

Shape legend: P pools, K classes.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.errors import SplitError
from pipeline.params.patches import PatchParams, SamplingParams
from pipeline.patches.anchors import LabelledPixels, Pool, class_pools, interface_pool
from pipeline.patches.ground import TrainGround, class_counts, scene_bands
from pipeline.patches.samplers import AnchoredSampler, GridSampler, ImageSampler, Sampler, uniform_sampler
from pipeline.types import IGNORE_INDEX, AnyArray, Window

#: Windows measured for each pool of pixels, and for whole images.
_WINDOWS, _IMAGE_WINDOWS = 512, 2048

#: Steps at most, and the change of a share below which a solution is one.
_STEPS, _STILL = 20_000, 1e-10

#: Share of windows without any label above which the image sampler warns.
_EMPTY = 0.1


@dataclass(frozen=True)
class Drawn:
    """A sampler, and what it comes to: shares by class name, each mapping sums to 1."""

    sampler: Sampler
    #: Share of each class among the labelled pixels of the windows, as expected.
    expected: dict[str, float]
    #: The same with each pixel counted by its weight, as the loss meets them.
    weighed: dict[str, float]
    #: How often windows are laid around each class, around `any` pixel, and around the interface `<class>|<class>`;
    #: where there is a choice.
    draws: dict[str, float] = field(default_factory=dict)
    #: What was asked for, and the composition of pixels nearest to it that windows can come to; for balanced.
    target: dict[str, float] = field(default_factory=dict)
    reachable: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Shown:
    """What windows show of each class, float64 K: labelled pixels and their summed weights."""

    pixels_K: AnyArray
    weight_K: AnyArray
    #: How many of the windows show no label.
    empty: int = 0

    def times(self, factor: float) -> "_Shown":
        return _Shown(factor * self.pixels_K, factor * self.weight_K, self.empty)

    def plus(self, other: "_Shown") -> "_Shown":
        return _Shown(self.pixels_K + other.pixels_K, self.weight_K + other.weight_K, self.empty + other.empty)


def open_sampler(grounds: Sequence[TrainGround], params: PatchParams, target_K: AnyArray, seed: int,
                 task_classes: Sequence[str] = ()) -> Drawn:
    """The sampler that the params ask for.

    Args:
        grounds: the train side of the scenes.
        params: `train.patches`.
        target_K: composition asked for (see `target_composition`); used by the balanced sampler alone.
        seed: of all draws.
        task_classes: names of the task's classes by id, which the interface is given in; () = the split's.

    Raises:
        SplitError: a class whose pixels are to be drawn, or the interface, has no labelled train pixel.
    """
    turns = 8 if params.flips_and_rotations else 1
    match params.sampling.name:
        case "grid":
            grid = GridSampler(grounds, params.size_px, seed, turns, params.per_epoch)
            return _drawn(grid, grounds, _of_ground(grounds))
        case "image":
            image = ImageSampler(grounds, params.size_px, seed, turns)
            return _drawn(image, grounds, _of_images(image, grounds))
        case "random" if not params.sampling.has_interface:
            uniform = uniform_sampler(grounds, params.size_px, seed, turns, params.sampling.jitter)
            return _drawn(uniform, grounds, _around_any(grounds, params, seed))
        case "random" | "balanced":
            return _anchored(grounds, params, target_K, seed, turns, task_classes)


def target_composition(params: SamplingParams, task_classes: Sequence[str], grounds: Sequence[TrainGround]) -> AnyArray:
    """Shares float64 K by class id of the split, sum 1; classes that the split has merged add up.

    Classes not named share equally what is left, those without train pixels aside.

    Raises:
        SplitError: a class with a share has no labelled train pixel.
    """
    split = grounds[0].split
    counts_K = class_counts(grounds, len(split.classes))
    target_K, named = np.zeros(len(split.classes)), set()
    for name, share in params.composition.items():
        class_id = int(split.lut[task_classes.index(name)])
        if share and (class_id >= len(counts_K) or not counts_K[class_id]):
            raise SplitError(f"class {name} must have labelled train pixels to be drawn with the share {share:g}: got "
                             "none; set its share in train.patches.sampling.composition to 0, or split again")
        if class_id < len(counts_K):
            target_K[class_id] += share
            named.add(class_id)
    rest = [k for k, count in enumerate(counts_K) if count and k not in named]
    if rest:
        target_K[rest] += max(0.0, 1 - float(target_K.sum())) / len(rest)
    if not target_K.sum():
        raise SplitError("train.patches.sampling.composition must leave a class with labelled train pixels: got "
                         f"{params.composition}")
    return _shares(target_K)


def draw_shares(target_K: AnyArray, windows_PK: AnyArray, fixed: float = 0.0) -> AnyArray:
    """How often to draw which pool, so that the pixels of all windows come as close to the target as they can.

    Close means a small Kullback-Leibler divergence of the target from what is drawn, sum_k t_k log(t_k / s_k): it minds
    a rare class that is missing, which least squares would give up for a common one. With windows of pool p showing
    n_p labelled pixels of composition M_pk, s = sum_p w_p M_p with w_p the pool's share of the pixels, and the
    divergence is convex in w; its minimum is found by expectation maximization, w_p <- w_p sum_k t_k M_pk / s_k (Vardi
    & Lee 1993, "From image deblurring to optimal investments", J. R. Stat. Soc. B 55). Shares of draws are w_p / n_p,
    normalized.

    Args:
        target_K: shares by class, sum 1.
        windows_PK: mean labelled pixels of each class in the windows of each pool; no row is 0. A class with a target
            above 0 is shown by some pool.
        fixed: share of the draws of the last pool, if it is given.

    Returns:
        float64 P, sum 1.
    """
    if fixed:
        # Every draw of another pool brings its part of the fixed draws along.
        free_P = draw_shares(target_K, (1 - fixed) * windows_PK[:-1] + fixed * windows_PK[-1])
        mixed_P: AnyArray = np.append((1 - fixed) * free_P, fixed)
        return mixed_P
    pixels_P = windows_PK.sum(axis=1)
    shown_PK = windows_PK / pixels_P[:, None]
    wanted = target_K > 0
    weight_P = pixels_P / pixels_P.sum()
    for _ in range(_STEPS):
        before = weight_P
        weight_P = weight_P * (shown_PK[:, wanted] @ (target_K[wanted] / (weight_P @ shown_PK)[wanted]))
        if np.abs(weight_P - before).max() < _STILL:
            break
    return _shares(weight_P / pixels_P)


def _drawn(sampler: Sampler, grounds: Sequence[TrainGround], shown: _Shown, **rest: dict[str, float]) -> Drawn:
    """A sampler whose windows show that on average."""
    classes = grounds[0].split.classes
    return Drawn(sampler, _named(classes, _shares(shown.pixels_K)), _named(classes, _shares(shown.weight_K)), **rest)


def _anchored(grounds: Sequence[TrainGround], params: PatchParams, target_K: AnyArray, seed: int, turns: int,
              task_classes: Sequence[str]) -> Drawn:
    """Windows around pixels by class, or around any, some of them around the interface."""
    sampling, classes = params.sampling, grounds[0].split.classes
    pools: dict[str, Pool] = {"any": LabelledPixels(grounds)}
    if sampling.name == "balanced":
        pools = {classes[k]: pool for k, pool in enumerate(class_pools(grounds, len(classes))) if target_K[k]}
    fixed = sampling.interface_share if sampling.has_interface else 0.0
    if fixed:
        pools["|".join(sampling.interface)] = _interface(grounds, sampling, task_classes or classes)
    shown = [_around_any(grounds, params, seed) if sampling.name == "random" and name == "any"
             else _around(grounds, name, pool, params, seed) for name, pool in pools.items()]
    windows_PK = np.stack([one.pixels_K for one in shown])
    if sampling.name == "random":
        share_P = np.array([1 - fixed, fixed])
        wanted: dict[str, dict[str, float]] = {}
    else:
        nearest_P = draw_shares(target_K, windows_PK, fixed)
        wanted = {"target": _named(classes, target_K), "reachable": _named(classes, _shares(nearest_P @ windows_PK))}
        by_target = np.append((1 - fixed) * target_K[target_K > 0], [fixed] if fixed else [])
        share_P = nearest_P if sampling.composition_of == "pixels" else by_target
    sampler = AnchoredSampler(grounds, list(pools.values()), share_P.tolist(), params.size_px, seed, turns,
                              sampling.jitter)
    return _drawn(sampler, grounds, _mixed(share_P, shown), draws=_named(list(pools), share_P), **wanted)


def _interface(grounds: Sequence[TrainGround], sampling: SamplingParams, task_classes: Sequence[str]) -> Pool:
    """The pool of the interface, which must have pixels; a class that the split has merged stands for what took it."""
    split = grounds[0].split
    first, second = (int(split.lut[task_classes.index(name)]) for name in sampling.interface)
    if first == second:
        raise SplitError("train.patches.sampling.interface must name two classes that the split keeps apart: "
                         f"{' and '.join(sampling.interface)} are merged into one; name others, or set interface_share "
                         "to 0")
    pool = interface_pool(grounds, first, second)
    if not pool.pixels:
        raise SplitError(f"train.patches.sampling.interface must name two classes that touch on the train ground: "
                         f"{' and '.join(sampling.interface)} do nowhere; name others, or set interface_share to 0")
    return pool


def _around(grounds: Sequence[TrainGround], name: str, pool: Pool, params: PatchParams, seed: int) -> _Shown:
    """What windows around the pixels of a pool show."""
    sampler = AnchoredSampler(grounds, [pool], [1.0], params.size_px, seed, 1, params.sampling.jitter,
                              f"measured {name}")
    return _shown(sampler, grounds, _WINDOWS)


def _around_any(grounds: Sequence[TrainGround], params: PatchParams, seed: int) -> _Shown:
    """What windows around all labelled pixels show: measured by class, so that the rarest has its windows too."""
    classes = grounds[0].split.classes
    share_K = _shares(class_counts(grounds, len(classes)))
    pools = class_pools(grounds, len(classes))
    present = [k for k in range(len(classes)) if share_K[k]]
    return _mixed(share_K[present], [_around(grounds, classes[k], pools[k], params, seed) for k in present])


def _mixed(share_P: AnyArray, shown: Sequence[_Shown]) -> _Shown:
    """What windows show on average if they are laid around each pool that often."""
    total, *others = (one.times(float(share)) for share, one in zip(share_P, shown, strict=True))
    for other in others:
        total = total.plus(other)
    return total


def _of_ground(grounds: Sequence[TrainGround]) -> _Shown:
    """All labelled train pixels."""
    weight = np.zeros(256)
    for ground in grounds:
        for band in scene_bands(ground.scene):
            weight += _by_class(ground, band)[1]
    counts_K = class_counts(grounds, len(grounds[0].split.classes))
    return _Shown(counts_K, weight[:len(counts_K)])


def _by_class(ground: TrainGround, window: Window) -> tuple[AnyArray, AnyArray]:
    """Pixels of a window by class id, 256 int64 (255: without label), and their summed weights, 256 float64."""
    labels = ground.labels(window).ravel()
    weight = np.where(labels == IGNORE_INDEX, 0, ground.weight_HW[window.slices].ravel())
    return np.bincount(labels, minlength=256), np.bincount(labels, weights=weight, minlength=256)


def _shown(sampler: Sampler, grounds: Sequence[TrainGround], windows: int) -> _Shown:
    """Means over so many windows."""
    total, weight, empty = np.zeros(256, dtype=np.int64), np.zeros(256), 0
    for index in range(windows):
        place = sampler.place(0, index)
        ground = grounds[place.ground]
        height, width = ground.scene.grid.shape
        window = place.window
        inside = Window(window.row, window.col, min(window.height, height - window.row),
                        min(window.width, width - window.col))
        found, weighed = _by_class(ground, inside)
        total += found
        weight += weighed
        empty += int(found[:-1].sum() == 0)
    classes = len(grounds[0].split.classes)
    return _Shown(total[:classes] / windows, weight[:classes] / windows, empty)


def _of_images(sampler: ImageSampler, grounds: Sequence[TrainGround]) -> _Shown:
    """What windows anywhere in the scenes show."""
    shown = _shown(sampler, grounds, _IMAGE_WINDOWS)
    if shown.empty > _EMPTY * _IMAGE_WINDOWS:
        warnings.warn(f"train.patches.sampling.name image draws places in held-out or unlabelled ground as well: "
                      f"{shown.empty / _IMAGE_WINDOWS:.0%} of the patches have no label to learn from; "
                      "use random unless scenes are held out whole", stacklevel=2)
    if not shown.pixels_K.sum():
        raise SplitError("the image sampler must find labelled train pixels: none in "
                         f"{_IMAGE_WINDOWS} windows; use train.patches.sampling.name random")
    return shown


def _shares(amounts: AnyArray) -> AnyArray:
    """Amounts over their sum, which is 0 where all weights are."""
    shares: AnyArray = amounts / (amounts.sum() or 1)
    return shares


def _named(names: Sequence[str], shares: AnyArray) -> dict[str, float]:
    return {name: float(share) for name, share in zip(names, shares, strict=True)}


def as_report(drawn: Drawn, counts: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """What a report says of the sampling: `train` (the labels' own composition), `expected`, and the rest of it."""
    total = sum(counts.values())
    report = {"train": {name: count / total for name, count in counts.items()}, "target": drawn.target,
              "reachable": drawn.reachable, "draws": drawn.draws, "expected": drawn.expected}
    return {part: {name: round(share, 6) for name, share in shares.items()}
            for part, shares in report.items() if shares}
