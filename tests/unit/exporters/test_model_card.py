"""What the model card says of buffer, members and calibration, each only where it is so."""

from collections.abc import Callable

import pytest

from pipeline.exporters.member_text import confidence
from pipeline.exporters.model_card import _scores, _split
from pipeline.networks.segmenter import Segmenter


@pytest.mark.parametrize(("buffer_m", "end"), [
    (50.0, "a sealed test part; no train label lies within 50 m of held-out ground."), (0.0, "a sealed test part.")])
def test_the_buffer_is_named_where_there_is_one(buffer_m: float, end: str) -> None:
    said = _split({"block_size_m": 640.0, "folds": 5, "buffer_m": buffer_m})
    assert said == f"Randomized blocks of 640 m in 5 folds and {end}"


CERTIFICATE = {"block_size_m": 640.0, "folds": 2, "buffer_m": 0.0, "val_fold": 0,
               "parts": {"train": {"blocks": 5, "labelled": 500}, "val": {"blocks": 3, "labelled": 300}},
               "by_fold": {"0": {"blocks": 3, "labelled": 300, "too_little_of": []},
                           "1": {"blocks": 5, "labelled": 500, "too_little_of": ["lake"]},
                           "test": {"blocks": 2, "labelled": 90, "too_little_of": []}}}


def test_members_that_held_out_other_folds_have_these_in_the_table() -> None:
    one = _split(CERTIFICATE)
    assert "| val | 3 | 300 |" in one
    several = _split(CERTIFICATE, {0: [0, 2], 1: [1, 3]})
    assert "| val |" not in several
    rows = ["| 0 | 0, 2 | 3 | 300 | nothing |", "| 1 | 1, 3 | 5 | 500 | lake |", "| test, sealed | all members | 2"]
    assert "\n".join(rows) in several


@pytest.mark.parametrize(("chosen", "said"), [
    (None, "is not recorded"), ([], "The val part had no say in the choice of the network."),
    (["epoch"], "also chose the epoch that was kept (train.select: best), so these scores are a little too good"),
    (["temperature"], "which changes no single member's classes")])
def test_the_card_says_what_val_chose(chosen: list[str] | None, said: str) -> None:
    assert said in _scores({"val_chose": chosen, "truths": {}})
    out_of_fold = _scores({"val_chose": chosen, "truths": {}, "out_of_fold": True})
    assert said.replace("The val part", "The fold that a member held out") in out_of_fold
    assert "may have chosen" not in out_of_fold


def test_a_temperature_fitted_without_the_eight_views_is_told(segmenter: Callable[[int], Segmenter]) -> None:
    spec = segmenter(0).spec.model_copy(update={"temperature": 1.5})
    for members in ({0: spec}, {0: spec, 1: spec}):
        assert "without the average over eight flips and turns" in confidence(members, tta=True)
        assert "eight" not in confidence(members)
    assert "eight" not in confidence({0: segmenter(0).spec}, tta=True)
