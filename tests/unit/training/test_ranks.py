"""Two data-parallel processes (gloo, CPU) draw the samples of one, end the same way, and stop together."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.unit.training import rank_script

SCRIPT = Path(rank_script.__file__)


pytestmark = [pytest.mark.filterwarnings("ignore:train.optimizer.frozen_epochs is for encoders that have learnt"),
              pytest.mark.filterwarnings("ignore:train.loss.weights.mcc is of one part of a step")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture
def results(tiny_data, folder, project, monkeypatch):
    """Where one rank and two have written what came of their trainings."""
    if not list(folder.iterdir()):
        data = tiny_data()
        shutil.copytree(data.scenes, folder / "scenes")
        shutil.copytree(data.splits, folder / "splits")
        surroundings = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
        for tasks in (["agree", "nan", "fails", "opens"], ["kelvin"]):
            done = subprocess.run([sys.executable, str(SCRIPT), str(folder), "2", *tasks], text=True,
                                  env=surroundings, capture_output=True, check=False, timeout=300)
            assert done.returncode == 0, done.stderr[-2000:]
        monkeypatch.setattr(rank_script.start, "build", rank_script.start.build)
        rank_script.main(folder, 1, ["agree"])
        rank_script.main(folder, 1, ["kelvin"])
        torch.use_deterministic_algorithms(False)
    return folder


def test_two_ranks_train_like_one(results):
    # Every loss term, in two parts a step, the encoder frozen for an epoch: only the order of sums differs.
    one, two, other = (results / name for name in ("agree1.0", "agree2.0", "agree2.1"))
    history, histories = json.loads(one.read_text()), [json.loads(file.read_text()) for file in (two, other)]
    assert histories[0] == histories[1]
    for mine, theirs in zip(history, histories[0], strict=True):
        assert theirs == pytest.approx(mine, rel=1e-4, abs=1e-6)
        assert [mine[k] for k in mine if k.startswith("share_")] == [theirs[k] for k in mine if k.startswith("share_")]
    weights, same, again = (torch.load(f"{file}.pt") for file in (one, two, other))
    for name, value in weights.items():
        torch.testing.assert_close(same[name], value, rtol=1e-3, atol=1e-5)
        assert torch.equal(same[name], again[name])
    assert not list(results.glob("resume-agree*/print"))


def test_two_ranks_see_the_same_pixels_as_one_in_mixed_precision(results):
    one, two = (json.loads((results / f"kelvin{n}.0").read_text())[0] for n in (1, 2))
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=5e-3)


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_and_keeps_the_state(results):
    messages = {(results / f"nan2.{rank}").read_text() for rank in (0, 1)}
    assert len(messages) == 1
    message = messages.pop()
    assert message.startswith("the training loss must stay finite: got nan on patches ['one row")
    # Patch 11 is the fourth of step 1's first part, the second one of rank 1: which holds two windows.
    assert "epoch 2, step 2;" in message
    assert message.count("one row") == 2
    assert "would go on from epoch 2, step 2 and come here again" in message
    state = torch.load(results / "resume-nan2/print/state.pt", weights_only=True)
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (1, 1)
    assert all(torch.isfinite(value).all() for value in state["weights"].values())


def test_an_error_in_scoring_stops_every_rank(results):
    assert (results / "fails2.0").read_text().startswith("val must be there")
    assert "the main one failed" in (results / "fails2.1").read_text()


def test_what_the_main_process_cannot_open_or_close_stops_every_rank(results):
    first, other = (json.loads((results / f"opens2.{rank}").read_text()) for rank in (0, 1))
    assert first == ["it must open: it does not", "open", "it must close: it does not", "open", "well"]
    failed = "all processes of a training must stay alive: the main one failed; its message says why"
    assert other == [failed, None, failed, None, "well"]
