"""Labels against the truth: as acquired, with the measured offset corrected, refined, and both.

    python -m tests.benchmarks.bench_labels                  # the default scene, seeds 42, 1 and 2 (a minute each)
    python -m tests.benchmarks.bench_labels --seeds 42       # one seed
    python -m tests.benchmarks.bench_labels --spectral       # also how confidence ranks right and wrong outlines

The stages themselves run, from acquire to spatial_split, with params.yaml and another scene; the offset is the one
that spatial_split measures on train blocks. Injected is the shift that all outlines share, sign turned: each outline
adds one of its own of 0.35 px deviation, so that the mean of a scene's outlines is some hundredths off.
"""

import argparse
import copy
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from scipy.stats import rankdata, spearmanr

from pipeline.geo.burn import PolygonLayer
from pipeline.geo.raster_io import describe, read
from pipeline.geo.vector_io import read_vectors
from pipeline.labels.confidence import polygon_confidence
from pipeline.params.load import Params
from pipeline.params.refine_labels import ConfidenceParams
from pipeline.paths import Paths
from pipeline.sources.synthetic.noise import PIXEL_M, stream
from pipeline.sources.synthetic.outlines import choose_missing
from pipeline.sources.synthetic.plan import make_plan
from pipeline.types import IGNORE_INDEX, AnyArray, Window
from stages import acquire, rasterize, refine_labels, spatial_split

SCENE = "synthetic"

#: An outline is right where at least this share of its pixels is of its class.
RIGHT = 0.75


def injected_m(seed: int, size_px: int) -> AnyArray:
    """What the outlines' shared shift asks for, metres east and north: the draws of sources.synthetic.outlines."""
    rng = stream(seed, "outlines")
    areas = [patch.polygon.area for patch in make_plan(seed, size_px).patches if patch.kind == "settlement"]
    choose_missing(rng, np.array(areas))
    turn, length = rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 1.8) * PIXEL_M
    return -length * np.array([np.cos(turn), -np.sin(turn)])  # outlines count metres to the south


def with_changes(raw: dict[str, Any], refine: dict[str, Any]) -> Params:
    """Params with other values in refine_labels."""
    changed = copy.deepcopy(raw)
    changed["refine_labels"].update(refine)
    return Params(changed)


def agreement(raw: dict[str, Any], paths: Paths, refine: dict[str, Any], side: str) -> dict[str, Any]:
    """IoU by class against the truth, before or after refinement."""
    metrics = refine_labels.run(with_changes(raw, refine), paths)
    found: dict[str, Any] = metrics["truth"][side]
    return found


def one_seed(seed: int, size_px: int, raw: dict[str, Any], spectral: bool) -> None:
    """Run the stages for one scene and print its table."""
    raw = copy.deepcopy(raw)
    raw["acquire"]["synthetic"] = {"seed": seed, "size_px": size_px}
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(folder))
        acquire.run(Params(raw), paths)
        rows = {"as acquired": agreement(raw, paths, {}, "before")}
        refined = agreement(raw, paths, {}, "after")
        rasterize.run(Params(raw), paths)
        spatial_split.run(Params(raw), paths)
        report = json.loads((paths.report("spatial_split") / "registration.json").read_text(encoding="utf-8"))
        measured = report["scenes"][SCENE]
        shift = {"shift": report["refine_labels.shift"]}
        if spectral:
            print_ranks(seed, paths)
        cleaned = {"rules": [], "min_polygon_m2": 0}
        rows |= {"offset corrected": agreement(raw, paths, {**shift, **cleaned}, "after"), "refined": refined,
                 "corrected and refined": agreement(raw, paths, shift, "after")}
    print_table(seed, size_px, measured, rows)


def print_table(seed: int, size_px: int, measured: dict[str, Any], rows: dict[str, dict[str, Any]]) -> None:
    """Offsets, then IoU by class of each set of labels."""
    east, north = injected_m(seed, size_px)
    print(f"\nseed {seed}: move labels by, injected: {east:+.1f} m east, {north:+.1f} m north; measured: "
          f"{measured['east_m']:+.1f} ± {measured['east_error_m']:.1f} and {measured['north_m']:+.1f} ± "
          f"{measured['north_error_m']:.1f}; tiles {measured['tiles_determined']} of {len(measured['tiles'])}, "
          f"spread {measured['tile_spread_m']}")
    names = list(next(iter(rows.values()))["iou"])
    print(f"{'labels':<24}" + "".join(f"{name:>21}" for name in [*names, "macro", "pixels"]))
    for title, row in rows.items():
        scores = [f"{row['iou'][name]:.4f}" if row["iou"][name] is not None else "-" for name in names]
        print(f"{title:<24}" + "".join(f"{v:>21}" for v in [*scores, f"{row['macro_iou']:.4f}", str(row["pixels"])]))


def print_ranks(seed: int, paths: Paths) -> None:
    """How well spectral confidence ranks outlines by the share of their pixels that are of their class in truth."""
    scene = paths.raw / f"scenes/{SCENE}.tif"
    grid, truth = describe(scene).grid, read(paths.raw / "reference/truth.tif")
    for title, layer in (("as acquired", "unrefined"), ("refined", "labels")):
        frame = read_vectors(paths.labels / "labels.gpkg", layer).to_crs(grid.crs)
        frame = frame[frame["class"] == "informal_settlement"].reset_index(drop=True) if layer == "unrefined" else frame
        place = PolygonLayer.of(frame.geometry, grid).uppermost(Window(0, 0, grid.height, grid.width))
        inside = (place > 0) & (truth != IGNORE_INDEX)
        settlement = truth[inside] == 1
        pixels = np.bincount(place[inside] - 1, minlength=len(frame))
        share = np.bincount(place[inside] - 1, settlement, minlength=len(frame)) / np.maximum(pixels, 1)
        judged = ((frame["class"] == "informal_settlement") & (pixels >= 4)).to_numpy()
        factor = polygon_confidence(scene, frame, ConfidenceParams(method="spectral"))[judged]
        right = share[judged] >= RIGHT
        ranks, wrong = rankdata(factor), int((~right).sum())
        auc = (ranks[right].sum() - right.sum() * (right.sum() + 1) / 2) / max(1, right.sum() * wrong)
        rho = spearmanr(share[judged], factor).statistic
        print(f"seed {seed}, outlines {title}: {judged.sum()} judged, {wrong} with under {RIGHT:.0%} settlement; AUC "
              f"{auc:.3f}, Spearman {rho:.3f}, median factor {np.median(factor[~right]):.2f} (wrong) and "
              f"{np.median(factor[right]):.2f} (right)")


def main() -> None:
    """Print a table for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2])
    parser.add_argument("--size", type=int, default=1024, help="side of the scene, pixels")
    parser.add_argument("--spectral", action="store_true", help="also rank outlines by spectral confidence")
    given = parser.parse_args()
    raw: dict[str, Any] = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text(encoding="utf-8"))
    warnings.simplefilter("ignore")
    for seed in given.seeds:
        one_seed(seed, given.size, raw, given.spectral)


if __name__ == "__main__":
    main()
