"""Members that held out different folds: every block is predicted by those that held it out, and by no other."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import ModelError
from pipeline.evaluation import fitting
from pipeline.evaluation.part import PartScores, score_part
from pipeline.evaluation.permit import unsealing
from pipeline.evaluation.summary import flat_values, headline_scores
from pipeline.inference.mosaic import decide
from pipeline.inference.network import NetworkPredictor
from pipeline.inference.sources import StorePixels
from pipeline.inference.tiles import predict
from pipeline.metrics.confusion import Confusion
from pipeline.metrics.scores import mcc
from pipeline.networks.members import load_member, member_folders
from pipeline.params.evaluate import BaselineParams, EvaluateParams
from pipeline.params.task import Task
from pipeline.paths import Paths
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.types import TEST_FOLD
from tests.unit.evaluation.small_store import (
    CHEAP,
    CLASSES,
    draw_truth,
    fold_and_block,
    params,
    write_checkpoint,
    write_store,
)

PAIRS = [(7, 0), (7, 1), (7, 2), (11, 0), (11, 1), (11, 2)]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    paths = write_store(tmp_path_factory.mktemp("folds"), ("one", "two"))
    write_checkpoint(paths, pairs=PAIRS)
    return paths


@pytest.fixture(scope="module")
def scores(paths: Paths) -> PartScores:
    return score_part(params(baselines=CHEAP), paths, "val")


def matrix_of(rows: pd.DataFrame) -> np.ndarray:
    counts = np.zeros((len(CLASSES), len(CLASSES)), dtype=int)
    np.add.at(counts, (rows["true"], rows["predicted"]), rows["count"])
    return counts


def rows_of(scores: PartScores, method: str, member: int | None = None) -> pd.DataFrame:
    table = scores.confusions
    rows = table[(table["method"] == method) & (table["truth"] == "reference")]
    return rows if member is None else rows[rows["member"] == member]


def test_every_fold_is_stitched_from_the_members_that_held_it_out(paths: Paths, scores: PartScores) -> None:
    fold, _ = fold_and_block()
    members = [load_member(folder) for folder in member_folders(paths.checkpoint)]
    tiles = params().section(EvaluateParams).tiles
    for scene, view in zip(SceneStore.open(paths.scenes), scores.views, strict=True):
        source = StorePixels(scene)
        for held_out in range(3):
            network = NetworkPredictor([m for m in members if m.spec.val_fold == held_out])
            whole = np.concatenate([decide(p, source.valid(w))[0] for w, p in predict(network, source, tiles)])
            assert (view.predicted_HW[fold == held_out] == whole[fold == held_out]).all()
        assert (view.predicted_HW[fold == TEST_FOLD] == 255).all()


def test_a_member_never_predicts_what_it_trained_on(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every member answers with its own fold, whatever it sees: the mosaic must be the fold map."""

    def own_fold(self: NetworkPredictor, place: int, image_NCHW: np.ndarray) -> np.ndarray:
        probs = np.zeros((1, len(CLASSES), *image_NCHW.shape[2:]), np.float32)
        probs[:, PAIRS[place][1]] = 1
        return probs

    monkeypatch.setattr(NetworkPredictor, "of", own_fold)
    scores = score_part(params(baselines=CHEAP, tta="d4"), paths, "val")
    fold, block = fold_and_block()
    scored = (fold < 3) & (scores.views[0].ground.scene.valid == 1)
    assert (scores.views[0].predicted_HW[scored] == fold[scored]).all()
    for method in ("network", "network_tta", "network_member"):
        rows = rows_of(scores, method)
        assert (rows["predicted"] == rows["block"].map(lambda b: int(fold[block == (b - 1) % 1000 + 1][0]))).all()


def test_blocks_of_all_folds_count_once_and_each_member_its_own(scores: PartScores) -> None:
    fold, block = fold_and_block()
    one = rows_of(scores, "network")
    assert set(one.loc[one["scene"] == "one", "block"]) == set(block[fold < 3])
    assert one["count"].sum() == scores.metrics["truths"]["reference"]["pixels"] == 2 * (int((fold < 3).sum()) - 35)
    for number, (_, held_out) in enumerate(PAIRS):
        own = rows_of(scores, "network_member", number)
        assert set(own.loc[own["scene"] == "two", "block"]) == set(block[fold == held_out] + 1000)
    assert list(scores.confusions["method"].unique()) == ["network", "network_member", "majority"]


def test_spread_is_that_of_members_seeds_and_folds(scores: PartScores) -> None:
    apart = scores.metrics["spread"]["reference"]
    assert scores.metrics["out_of_fold"] is True
    assert scores.metrics["members"][4] == {"number": 4, "seed": 11, "fold": 1}
    assert set(apart) == {"by_member", "over_members", "by_seed", "over_seeds", "by_fold", "over_folds"}
    member = mcc(Confusion(matrix_of(rows_of(scores, "network_member", 4))))
    assert apart["by_member"]["4"]["mcc"] == pytest.approx(member)
    assert (apart["by_member"]["4"]["seed"], apart["by_member"]["4"]["fold"]) == (11, 1)
    seed = sum(matrix_of(rows_of(scores, "network_member", number)) for number in (3, 4, 5))
    assert apart["by_seed"]["11"]["mcc"] == pytest.approx(mcc(Confusion(seed)))
    fold, block = fold_and_block()
    rows = rows_of(scores, "network")
    inside = rows[((rows["block"] - 1) % 1000 + 1).isin(np.unique(block[fold == 2]))]
    assert apart["by_fold"]["2"]["mcc"] == pytest.approx(mcc(Confusion(matrix_of(inside))))
    values = [apart["by_seed"][name]["mcc"] for name in ("7", "11")]
    over = apart["over_seeds"]["mcc"]
    assert (over["n"], over["mean"]) == (2, pytest.approx(np.mean(values)))
    assert over["sd"] == pytest.approx(np.std(values, ddof=1))
    # Student's factor for one degree of freedom is 12.706.
    assert over["high"] - over["mean"] == pytest.approx(12.7062 * over["sd"] / np.sqrt(2), rel=1e-4)
    assert apart["over_folds"]["mcc"]["n"] == 3
    assert apart["over_folds"]["mcc"]["low"] is None
    objects = apart["by_member"]["0"]["objects"]["settlement"]
    assert 0 < objects["truth"] < scores.metrics["objects"]["settlement"]["network"]["truth"]


def test_members_are_no_methods_beside_the_mosaic(scores: PartScores) -> None:
    for table in (scores.metrics["truths"]["reference"], scores.metrics["zones"],
                  scores.metrics["objects"]["settlement"]):
        assert not [name for name in table if "member" in name]


def test_headline_and_log_have_the_spread(scores: PartScores) -> None:
    headline, flat = headline_scores(scores.metrics), flat_values(scores.metrics, "reference")
    over = scores.metrics["spread"]["reference"]["over_seeds"]["mcc"]
    assert headline["over_seeds"]["mcc"] == {"mean": over["mean"], "sd": over["sd"]}
    assert set(headline["over_folds"]) == {"mcc", "macro_iou"}
    assert flat["over_seeds.mcc.sd"] == over["sd"]


def test_one_seed_s_mosaic_is_the_network_s(tmp_path: Path) -> None:
    paths = write_store(tmp_path)
    write_checkpoint(paths, pairs=PAIRS[:3])
    scores = score_part(params(baselines=CHEAP), paths, "val")
    apart = scores.metrics["spread"]["reference"]
    assert "by_seed" not in apart
    network, members = (matrix_of(rows_of(scores, method)) for method in ("network", "network_member"))
    assert (network == members).all()


def test_several_seeds_of_one_fold_are_scored_on_the_same_pixels(tmp_path: Path) -> None:
    paths = write_store(tmp_path)
    write_checkpoint(paths, pairs=[(1, 0), (2, 0), (3, 0)])
    scores = score_part(params(baselines=CHEAP), paths, "val")
    apart, table = scores.metrics["spread"]["reference"], scores.metrics["truths"]["reference"]
    assert scores.metrics["out_of_fold"] is False
    assert set(apart) == {"by_member", "over_members", "by_seed", "over_seeds"}
    assert apart["by_seed"]["2"]["mcc"] == table["network_member_1"]["mcc"]["value"]
    assert apart["over_seeds"]["mcc"]["low"] < apart["over_seeds"]["mcc"]["mean"]
    assert table["pixels"] == 9 * 256 - 35


def test_an_incomplete_grid_of_members_is_refused(tmp_path: Path) -> None:
    paths = write_store(tmp_path)
    write_checkpoint(paths, pairs=[(1, 0), (1, 1), (2, 0)])
    with pytest.raises(ModelError, match=r"one for each seed and fold: .* \[\(1, 0\), \(1, 1\), \(2, 0\)\]"):
        score_part(params(baselines=CHEAP), paths, "val")


def test_on_the_test_part_all_members_are_one_ensemble(paths: Paths) -> None:
    with unsealing(paths) as permit:
        scores = score_part(params(baselines=CHEAP), paths, "test", None, permit)
    fold, _ = fold_and_block()
    source = StorePixels(SceneStore.open(paths.scenes).scenes[0])
    tiles = params().section(EvaluateParams).tiles
    whole = predict(NetworkPredictor.load(paths.checkpoint), source, tiles)
    mapped = np.concatenate([decide(p, source.valid(w))[0] for w, p in whole])
    assert (scores.views[0].predicted_HW == mapped).all()
    assert scores.metrics["out_of_fold"] is False
    totals = scores.confusions.groupby(["truth", "method", "member"])["count"].sum()
    assert totals.nunique() == 1
    assert len(totals.xs("network_member", level="method")) == 3 * len(PAIRS)
    assert totals.iloc[0] == 2 * int((fold == TEST_FOLD).sum())
    assert set(scores.metrics["spread"]["reference"]) == {"by_member", "over_members"}


def test_tta_is_scored_beside_the_plain_network_on_the_same_blocks(tmp_path: Path) -> None:
    paths = write_store(tmp_path)
    write_checkpoint(paths, pairs=PAIRS[:3])
    plain = score_part(params(baselines=CHEAP), paths, "val")
    both = score_part(params(baselines=CHEAP, tta="d4"), paths, "val")
    table = both.metrics["truths"]["reference"]
    assert (matrix_of(rows_of(plain, "network")) == matrix_of(rows_of(both, "network"))).all()
    assert rows_of(both, "network_tta")["count"].sum() == rows_of(both, "network")["count"].sum()
    difference = table["network_tta"]["difference_to_network"]["accuracy"]
    assert difference["value"] == pytest.approx(table["network_tta"]["accuracy"]["value"]
                                                - table["network"]["accuracy"]["value"])
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert "difference_to_network_tta" not in table["network"]
    assert headline_scores(both.metrics)["tta_minus_plain"]["mcc"] == (
        table["network_tta"]["difference_to_network"]["mcc"]["value"])


class Grounds:
    """Stands for the baselines: remembers which ground each was fitted on, and answers with its number."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def build(self, params: BaselineParams, task: Task, store: SceneStore, split: Split, seed: int) -> dict[str, Any]:
        self.seen.append(np.asarray(split.ground_map("one")).copy())
        number = len(self.seen) - 1

        class Answer:
            def predict(self, scene: Any, window: Any, wanted_HW: np.ndarray) -> np.ndarray:
                return np.where(wanted_HW, np.uint8(number), np.uint8(255))

        return {"majority": Answer()}


def test_baselines_of_a_fold_never_saw_it(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    grounds = Grounds()
    monkeypatch.setattr(fitting, "build", grounds.build)
    scores = score_part(params(), paths, "val")
    fold, block = fold_and_block()
    assert [set(np.unique(fold[seen == 2])) for seen in grounds.seen] == [{1, 2}, {0, 2}, {0, 1}]
    rows = rows_of(scores, "majority")
    assert (rows["predicted"] == rows["block"].map(lambda b: int(fold[block == (b - 1) % 1000 + 1][0]))).all()


def test_baselines_of_the_test_part_learn_from_all_that_members_learn_from(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    grounds = Grounds()
    monkeypatch.setattr(fitting, "build", grounds.build)
    with unsealing(paths) as permit:
        score_part(params(), paths, "test", None, permit)
    fold, _ = fold_and_block()
    (seen,) = grounds.seen
    assert (seen == np.where(fold == TEST_FOLD, 0, 2)).all()


def test_reference_of_the_sealed_ground_stays_out_of_sight(scores: PartScores) -> None:
    fold, _ = fold_and_block()
    cut = scores.views[0].ground.cut(slice(None), slice(None))
    assert (cut.truths["reference"][fold == TEST_FOLD] == 255).all()
    assert (cut.truths["reference"][cut.scored_HW] == draw_truth(0)[cut.scored_HW]).all()


def test_metrics_say_what_the_scored_folds_chose(paths: Paths, scores: PartScores, tmp_path: Path) -> None:
    assert scores.metrics["val_chose"] is None  # of before model.json said it
    assert headline_scores(scores.metrics)["val_chose"] == "not known"
    own = write_store(tmp_path)
    for chosen, told, brief in (((), [], "nothing"), (("temperature", "epoch"), ["epoch", "temperature"],
                                                      "epoch, temperature")):
        write_checkpoint(own, pairs=PAIRS[:3], val_chose=chosen)
        found = score_part(params(baselines={**CHEAP, "majority": False, "index_rules": []}), own, "val").metrics
        assert (found["val_chose"], headline_scores(found)["val_chose"]) == (told, brief)


def test_classes_too_thin_in_a_scored_fold_are_told(tmp_path: Path) -> None:
    own = write_store(tmp_path)
    file = own.splits / "certificate.json"
    certificate = json.loads(file.read_text())
    certificate["by_fold"] = {str(fold): {"too_little_of": ["water"] if fold == 2 else []} for fold in range(3)}
    file.write_text(json.dumps(certificate))
    write_checkpoint(own, pairs=PAIRS[:3])
    assert score_part(params(baselines=CHEAP), own, "val").metrics["too_thin"] == {"2": ["water"]}
    write_checkpoint(own, pairs=[(7, 0)])
    for number in (1, 2):
        shutil.rmtree(own.checkpoint / "members" / str(number))
    assert score_part(params(baselines=CHEAP), own, "val").metrics["too_thin"] == {}


@pytest.mark.parametrize("baselines", [
    {**CHEAP, "majority": False}, {**CHEAP, "majority": False, "index_rules": []}])
def test_grounds_of_folds_are_made_only_for_what_learns(
    baselines: dict[str, Any], paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("no ground of another fold is needed")

    monkeypatch.setattr(Split, "with_val_fold", refuse)
    score_part(params(baselines=baselines), paths, "val")


def test_grounds_of_folds_lie_in_the_working_folder_and_go(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    where, whole = set[Path](), Split.with_val_fold

    def noted(split: Split, fold: int, scratch: Path) -> Split:
        where.add(scratch)
        return whole(split, fold, scratch)

    monkeypatch.setattr(Split, "with_val_fold", noted)
    score_part(params(baselines=CHEAP), paths, "val")
    (folder,) = where
    assert folder.is_relative_to(paths.root)
    assert not folder.exists()
