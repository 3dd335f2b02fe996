"""Which members there are, and what is said of all of them."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SplitError
from pipeline.params.train import TrainParams
from pipeline.splits.plan import look_up_table
from pipeline.splits.split import Split
from pipeline.training.overview import flat, overview
from pipeline.training.plan import Member, members


def split_of(folds: int, val_fold: int) -> Split:
    return Split(Path(), folds, val_fold, 0.0, ("a", "b"), look_up_table((0, 1)), ())


@pytest.mark.parametrize(("params", "expected"), [
    ({}, [(42, 2)]),
    ({"seeds": [1, 7]}, [(1, 2), (7, 2)]),
    ({"folds": 3}, [(42, 0), (42, 1), (42, 2)]),
    ({"folds": 3, "seeds": [7, 1]}, [(7, 0), (7, 1), (7, 2), (1, 0), (1, 1), (1, 2)]),
])
def test_members_are_seeds_by_folds(params: dict[str, object], expected: list[tuple[int, int]]) -> None:
    found = members(TrainParams.model_validate(params), 42, split_of(3, 2))
    assert found == tuple(Member(number, *pair) for number, pair in enumerate(expected))


def test_folds_other_than_the_splits_are_refused() -> None:
    with pytest.raises(SplitError, match=r"1 or the number of the split's folds, 4: got 3"):
        members(TrainParams.model_validate({"folds": 3}), 42, split_of(4, 0))


def summary(number: int, seed: int, fold: int, mcc: float | None) -> dict[str, object]:
    return {"number": number, "seed": seed, "val_fold": fold, "best_epoch": 1 + number, "epochs": 5, "val_mcc": mcc,
            "val_iou_lake": None, "train_pixels": {"a": 10 * fold, "b": 4}, "sampling": {}}


def test_one_member_speaks_for_itself() -> None:
    one = summary(0, 1, 0, 0.5)
    found = overview([one])
    assert found == {"best_epoch": 1, "epochs": 5, "val_mcc": 0.5, "val_iou_lake": None,
                     "train_pixels": {"a": 0, "b": 4}, "sampling": {}, "members": [one]}
    assert flat(found) == {}


def test_means_and_spreads_by_seed_and_fold_apart() -> None:
    # Folds 0 and 1 (rows) by seeds 1 and 2: 0.2 0.4 | 0.6 0.6.
    scores = {(1, 0): 0.2, (1, 1): 0.6, (2, 0): 0.4, (2, 1): 0.6}
    found = overview([summary(i, seed, fold, mcc) for i, ((seed, fold), mcc) in enumerate(scores.items())])
    assert found["val_mcc"] == pytest.approx(0.45)
    spread = found["spread"]["val_mcc"]
    assert spread["members"] == pytest.approx(np.std([0.2, 0.6, 0.4, 0.6], ddof=1))
    assert spread["seeds"] == pytest.approx((0.02 / 2) ** 0.5)  # variances 0.02 in fold 0, 0 in fold 1
    assert spread["folds"] == pytest.approx(np.std([0.3, 0.6], ddof=1))
    assert found["val_iou_lake"] is None
    assert set(found["spread"]["val_iou_lake"].values()) == {None}
    assert (found["best_epoch"], found["epochs"], found["train_pixels"]) == (2.5, 5, {"a": 5, "b": 4})
    assert flat(found) == {"val_mcc": found["val_mcc"], "val_mcc.sd_members": spread["members"],
                           "val_mcc.sd_seeds": spread["seeds"], "val_mcc.sd_folds": spread["folds"]}


def test_members_without_a_score_are_left_out_of_its_mean() -> None:
    found = overview([summary(0, 1, 0, 0.2), summary(1, 1, 1, None), summary(2, 1, 2, 0.4)])
    assert found["val_mcc"] == pytest.approx(0.3)
    assert found["spread"]["val_mcc"] == {"members": pytest.approx(0.02**0.5), "seeds": None,
                                          "folds": pytest.approx(0.02**0.5)}
