"""Scoring a part: each pixel once, only the part, all truths and methods, nothing of the sealed ground."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import IntegrityError, ModelError, SplitError
from pipeline.evaluation.part import PartScores, score_part, write_tables
from pipeline.evaluation.summary import flat_values, headline_scores
from pipeline.geo.raster_io import describe, read, write
from pipeline.metrics.confusion import Confusion
from pipeline.metrics.scores import mcc
from pipeline.paths import Paths
from pipeline.types import Window
from tests.unit.evaluation.small_store import (
    CHEAP,
    CLASSES,
    RedPredictor,
    draw_truth,
    fold_and_block,
    grid,
    params,
    write_checkpoint,
    write_store,
)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    return write_store(tmp_path_factory.mktemp("store"), ("one", "two"))


@pytest.fixture(scope="module")
def scores(paths: Paths) -> PartScores:
    return score_part(params(), paths, "val", RedPredictor(wrong=9))


def network_rows(table: pd.DataFrame, truth: str = "reference") -> pd.DataFrame:
    return table[(table["method"] == "network") & (table["truth"] == truth)]


def matrix_of(rows: pd.DataFrame) -> np.ndarray:
    counts = np.zeros((len(CLASSES), len(CLASSES)), dtype=int)
    np.add.at(counts, (rows["true"], rows["predicted"]), rows["count"])
    return counts


def test_every_block_counts_exactly_its_valid_val_pixels(scores: PartScores) -> None:
    fold, block = fold_and_block()
    view = scores.views[0]
    scored = (fold == 0) & (view.ground.scene.valid == 1)
    rows = network_rows(scores.confusions)
    for number in np.unique(block[scored]):
        inside = scored & (block == number)
        expected = Confusion.of(draw_truth(0)[inside], view.predicted_HW[inside], 4)
        assert matrix_of(rows[rows["block"] == number]).tolist() == expected.matrix.tolist()
    assert set(rows.loc[rows["scene"] == "one", "block"]) == set(np.unique(block[scored]))


def test_metrics_are_those_of_the_summed_blocks(scores: PartScores) -> None:
    counts = matrix_of(network_rows(scores.confusions))
    reference = scores.metrics["truths"]["reference"]
    assert reference["network"]["mcc"]["value"] == pytest.approx(mcc(Confusion(counts)))
    # Of 36 blocks of 256 pixels a scene, 9 are val; 35 of their pixels have no data.
    assert reference["pixels"] == counts.sum() == 2 * (9 * 256 - 35)
    assert reference["blocks"] == 18


def test_all_methods_count_the_same_pixels_in_all_truths(scores: PartScores) -> None:
    methods = ["network", "majority", "index_rules", "boosting", "boosting_focal"]
    assert list(scores.confusions["method"].unique()) == methods
    assert set(scores.confusions["truth"]) == {"refined", "unrefined", "reference"}
    totals = scores.confusions.groupby(["truth", "method"])["count"].sum()
    assert totals.nunique() == 1
    per_block = scores.confusions.groupby(["truth", "block", "method"])["count"].sum().unstack()
    assert (per_block.nunique(axis=1) == 1).all()
    assert list(scores.confusions.columns) == ["part", "truth", "method", "member", "scene", "block", "true",
                                               "predicted", "count"]


def test_the_stitched_map_is_the_predictor_s_own(scores: PartScores) -> None:
    """Right wherever the predictor's tile-wise lines of errors are not: tiles blend, pixels count once."""
    perfect = scores.views[0].predicted_HW == draw_truth(0)
    assert 0.85 < perfect[scores.views[0].ground.scene.valid == 1].mean() < 0.97


def test_a_perfect_map_gets_perfect_scores_and_beats_or_ties_every_baseline(paths: Paths) -> None:
    metrics = score_part(params(baselines=CHEAP), paths, "val", RedPredictor()).metrics
    network = metrics["truths"]["reference"]["network"]
    assert network["mcc"] == {"value": pytest.approx(1), "low": pytest.approx(1), "high": pytest.approx(1)}
    assert all(v["value"] == 1 for v in network["iou"].values())
    assert network["difference_to_majority"]["macro_iou"]["low"] > 0
    assert metrics["objects"]["settlement"]["network"]["found_share"]["value"] == 1


def test_undefined_scores_are_null(scores: PartScores) -> None:
    majority = scores.metrics["truths"]["reference"]["majority"]
    assert majority["mcc"] == {"value": None, "low": None, "high": None}
    network = scores.metrics["truths"]["reference"]["network"]
    assert network["difference_to_majority"]["mcc"]["value"] is None
    assert json.loads(json.dumps(scores.metrics, allow_nan=False)) == scores.metrics


def test_the_best_baseline_is_chosen_score_by_score(scores: PartScores) -> None:
    table = scores.metrics["truths"]["reference"]
    best = table["network"]["difference_to_best_baseline"]
    baselines = [name for name in table if name not in ("network", "pixels", "blocks", "places")]
    for score in ("mcc", "macro_iou", "accuracy"):
        highest = max(table[b][score]["value"] for b in baselines if table[b][score]["value"] is not None)
        assert table[best[score]["baseline"]][score]["value"] == highest
        assert best[score]["value"] == pytest.approx(table["network"][score]["value"] - highest)
        same = table["network"][f"difference_to_{best[score]['baseline']}"][score]
        assert {k: best[score][k] for k in ("value", "low", "high")} == same


def test_zones_share_the_part_s_pixels_among_classes(scores: PartScores) -> None:
    left = scores.metrics["zones"]["network"]["left"]
    predicted, pixels = [], 0
    for view in scores.views:
        inside = view.ground.cut(slice(None), slice(None)).scored_HW & (np.arange(96) < 48)
        predicted.append(view.predicted_HW[inside])
        pixels += int(inside.sum())
    assert left["pixels"] == pixels
    assert sum(left[name]["value"] for name in CLASSES) == pytest.approx(1)
    assert left["water"]["value"] == pytest.approx(np.mean(np.concatenate(predicted) == 2))
    assert left["water"]["low"] < left["water"]["value"] < left["water"]["high"]
    assert scores.metrics["zones"]["majority"]["right"]["background"]["value"] == 1


def test_objects_of_all_methods_are_the_same_truth_objects(scores: PartScores) -> None:
    objects = scores.metrics["objects"]["settlement"]
    assert len({method["truth"] for method in objects.values()}) == 1
    assert objects["majority"]["found"] == 0
    network = objects["network"]
    assert network["found_share_difference_to_majority"]["value"] == network["found_share"]["value"]


def test_equal_inputs_give_equal_bytes(paths: Paths, scores: PartScores, tmp_path: Path) -> None:
    again = score_part(params(), paths, "val", RedPredictor(wrong=9))
    for name, result in (("a", scores), ("b", again)):
        (tmp_path / name).mkdir()
        write_tables(result, tmp_path / name)
    for file in ("metrics.json", "headline.json", "confusions.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a/confusions.parquet"), scores.confusions)


def test_bands_of_rows_change_no_count(paths: Paths, scores: PartScores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.evaluation.truths._BAND_PIXELS", 5 * 96)
    again = score_part(params(), paths, "val", RedPredictor(wrong=9))
    assert again.metrics == scores.metrics
    pd.testing.assert_frame_equal(again.confusions, scores.confusions)


def test_memory_does_not_grow_with_the_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.evaluation.truths._BAND_PIXELS", 16 * 96)
    monkeypatch.setattr("pipeline.patches.ground.BAND_PIXELS", 16 * 96)
    peaks = []
    for repeats in (1, 4, 16):  # the first imports what is imported late
        paths = write_store(tmp_path / str(repeats), reference=False)
        tall = replace(grid(), height=96 * repeats)
        for file in (*(paths.scenes / "one").iterdir(), *(paths.splits / "one").iterdir()):
            info, pixels = describe(file), read(file)
            write(file, np.concatenate([pixels] * repeats), tall, [band or "" for band in info.bands], info.nodata)
        manifest = json.loads((paths.scenes / "manifest.json").read_text())
        manifest["scenes"]["one"]["grid"] = tall.to_dict()
        (paths.scenes / "manifest.json").write_text(json.dumps(manifest))
        settings = params(baselines=CHEAP, object_classes=[])
        tracemalloc.start()
        score_part(settings, paths, "val", RedPredictor(wrong=9))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]


def test_truth_on_sealed_ground_has_no_say_in_val(tmp_path: Path) -> None:
    results = [score_part(params(), write_store(tmp_path / str(seed), test_garbage=seed), "val", RedPredictor(wrong=9))
               for seed in (None, 1)]
    assert results[0].metrics == results[1].metrics
    pd.testing.assert_frame_equal(results[0].confusions, results[1].confusions)
    shown = [result.views[0].ground.cut(slice(None), slice(None)).truths for result in results]
    assert all(np.array_equal(shown[0][name], shown[1][name]) for name in shown[0])


def test_without_a_reference_the_refined_labels_are_the_headline(tmp_path: Path) -> None:
    paths = write_store(tmp_path, reference=False)
    result = score_part(params(baselines=CHEAP), paths, "val", RedPredictor())
    assert result.headline == result.metrics["headline"] == "refined"
    assert set(result.metrics["truths"]) == {"refined", "unrefined"}


def test_unknown_truth_is_not_scored(tmp_path: Path) -> None:
    paths = write_store(tmp_path)
    labels = draw_truth(0)
    labels[:, :48] = 255
    write(paths.scenes / "one/labels.tif", labels, grid(), ["labels"])
    truths = score_part(params(baselines=CHEAP), paths, "val", RedPredictor()).metrics["truths"]
    fold, _ = fold_and_block()
    assert truths["refined"]["pixels"] == int((fold[:, 48:] == 0).sum())
    assert truths["unrefined"]["pixels"] > truths["refined"]["pixels"]


def test_a_reference_unknown_in_the_part_is_listed_and_the_labels_take_its_place(tmp_path: Path) -> None:
    paths = write_store(tmp_path, ("one", "two"))
    (paths.scenes / "two/reference.tif").unlink()
    write(paths.scenes / "one/reference.tif", np.full((96, 96), 255, np.uint8), grid(), ["reference"])
    result = score_part(params(baselines=CHEAP), paths, "val", RedPredictor())
    assert result.headline == "refined"
    assert result.metrics["unscored"] == ["reference"]
    assert set(result.metrics["truths"]) == {"refined", "unrefined"}


def test_objects_are_held_against_one_kind_of_truth_only(tmp_path: Path) -> None:
    paths = write_store(tmp_path, ("one", "two"))
    both = score_part(params(baselines=CHEAP), paths, "val", RedPredictor()).metrics["objects"]["settlement"]
    (paths.scenes / "two/reference.tif").unlink()
    one = score_part(params(baselines=CHEAP), paths, "val", RedPredictor()).metrics["objects"]["settlement"]
    assert 0 < one["network"]["truth"] < both["network"]["truth"]


def test_a_part_without_any_known_truth_is_refused(tmp_path: Path) -> None:
    paths = write_store(tmp_path, reference=False)
    labels = draw_truth(0)
    labels[fold_and_block()[0] == 0] = 255
    write(paths.scenes / "one/labels.tif", labels, grid(), ["labels"])
    with pytest.raises(SplitError, match="pixels whose label or reference is known: got none"):
        score_part(params(baselines=CHEAP), paths, "val", RedPredictor())


def test_merged_classes_are_scored_as_one(tmp_path: Path) -> None:
    paths = write_store(tmp_path, merge=True)
    result = score_part(params(baselines=CHEAP, object_classes=["vegetation"]), paths, "val", RedPredictor(CLASSES[:3]))
    assert result.classes == CLASSES[:3]
    assert result.metrics["truths"]["refined"]["network"]["mcc"]["value"] == pytest.approx(1)
    assert list(result.metrics["objects"]) == ["water"]
    assert result.colors == ("#b8b0a4", "#d1495b", "#2e86ab")


def test_refusals(paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="only val"):
        score_part(params(), paths, "train", RedPredictor())  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="classes must be the split's"):
        score_part(params(), paths, "val", RedPredictor(CLASSES[:3]))
    with pytest.raises(ModelError, match="must hold members/0"):
        score_part(params(), paths, "val")
    blind = write_store(tmp_path / "blind")
    write(blind.splits / "one/fold.tif", np.ones((96, 96), np.uint8), grid(), ["fold"])
    with pytest.raises(SplitError, match="the val part must have pixels with data: got none in 1 scenes"):
        score_part(params(baselines=CHEAP), blind, "val", RedPredictor())
    holes = {("network", 0): np.full((96, 96), 255, dtype=np.uint8)}
    monkeypatch.setattr("pipeline.evaluation.lineup.Lineup.bands", lambda *_: iter([(Window(0, 0, 96, 96), holes)]))
    with pytest.raises(IntegrityError, match="network must predict every valid pixel of the scored part of scene one"):
        score_part(params(baselines=CHEAP), paths, "val", RedPredictor())


def test_an_ensemble_is_scored_as_one_and_member_by_member(tmp_path: Path) -> None:
    paths = write_store(tmp_path)
    write_checkpoint(paths, members=2)
    result = score_part(params(baselines=CHEAP), paths, "val")
    rows = result.confusions.groupby(["method", "member"])["count"].sum()
    assert set(rows.index) == {("network", -1), ("network_member", 0), ("network_member", 1), ("majority", 0)}
    assert rows.nunique() == 1
    table = result.metrics["truths"]["refined"]
    assert {"network", "network_member_0", "network_member_1", "majority"} <= set(table)
    assert not [key for key in table["network"] if "member" in key]


def test_a_model_of_another_split_is_refused(tmp_path: Path) -> None:
    paths = write_store(tmp_path)
    write_checkpoint(paths)
    certificate = paths.splits / "certificate.json"
    certificate.write_text(certificate.read_text().replace("}", ' }', 1))
    with pytest.raises(ModelError, match=r"\['members/0'\] of .* were trained with another"):
        score_part(params(baselines=CHEAP), paths, "val")


def test_the_headline_is_the_network_against_the_headline_truth(scores: PartScores) -> None:
    headline = headline_scores(scores.metrics)
    network = scores.metrics["truths"]["reference"]["network"]
    assert headline["mcc"] == network["mcc"]["value"]
    assert headline["iou"]["water"] == network["iou"]["water"]["value"]
    assert headline["beyond_best_baseline"]["mcc"] == network["difference_to_best_baseline"]["mcc"]["value"]
    assert headline["objects_found"] == {"settlement": 1.0}


def test_flat_values_are_the_defined_points(scores: PartScores) -> None:
    flat = flat_values(scores.metrics, "reference")
    table = scores.metrics["truths"]["reference"]
    assert flat["network.iou.water"] == table["network"]["iou"]["water"]["value"]
    assert "majority.mcc" not in flat
    assert flat["network.difference_to_boosting.mcc"] == table["network"]["difference_to_boosting"]["mcc"]["value"]
