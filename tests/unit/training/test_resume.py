"""A training killed in mid-epoch goes on as if nothing had happened, thanks to every piece of its state."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from lightning_fabric import Fabric

from pipeline.errors import ModelError
from pipeline.training import keeper
from pipeline.training.progress import Progress
from pipeline.training.ranks import Ranks
from pipeline.training.start import begin_with
from tests.unit.training import resume_setup
from tests.unit.training.resume_setup import SCORES, train


class Stop(Exception):
    """What stands for a kill."""


class StopsAt:
    """A source that fails at a patch; notes what it was asked for."""

    def __init__(self, source, at, asked):
        self._source, self._at, self._asked = source, at, asked

    def draw(self, epoch, index):
        if (epoch, index) == self._at:
            raise Stop
        self._asked.append((epoch, index))
        return self._source.draw(epoch, index)


@pytest.fixture
def data(tiny_data):
    yield tiny_data()
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def uninterrupted():
    return []


@pytest.fixture
def whole(uninterrupted, data, tmp_path):
    """The result of the training in one go, its state saved now and then."""
    if not uninterrupted:
        uninterrupted.append(train(data.store, data.split, tmp_path / "whole"))
    return uninterrupted[0]


def stopped(data, root):
    """A training that ended in the third step of its second epoch; its state."""
    asked = []
    with pytest.raises(Stop):
        train(data.store, data.split, root, lambda source: StopsAt(source, (1, 9), asked), save_every_s=0)
    assert len(asked) == 25
    return torch.load(root / "print/state.pt", weights_only=True)


def test_it_stops_early_and_its_rate_falls(whole):
    rows = whole[1].splitlines()
    assert len(rows) == 5
    assert [row.split(",")[1] for row in rows[1:]] == ["0.02", "0.02", "0.01", "0.005"]
    assert whole[2] == 1


def test_stopped_in_mid_epoch_it_ends_the_same_and_draws_nothing_again(data, whole, tmp_path):
    state = stopped(data, tmp_path / "cut")
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (1, 2)
    asked = []
    again = train(data.store, data.split, tmp_path / "cut", lambda source: StopsAt(source, None, asked),
                  scores=SCORES[1:])
    assert again == whole
    assert asked[0] == (1, 8)
    assert len(asked) == 4 * 16 - 24


def shifted(weights):
    return {name: value + 0.01 if value.is_floating_point() else value for name, value in weights.items()}


def without_momentum(state):
    for slots in state["optimizer"]["state"].values():
        slots["momentum_buffer"].zero_()


def other_dropout(state):
    state["generators"][0]["torch"] = torch.Generator().manual_seed(99).get_state()


PIECES = {
    "weights": lambda s: s.update(weights=shifted(s["weights"])),
    "momentum": without_momentum,
    "average": lambda s: s["averages"].update(weights=shifted(s["averages"]["weights"])),
    "average's memory": lambda s: s["averages"].update(steps=0),
    "dropout's generator": other_dropout,
    "place in the epoch": lambda s: s["progress"].update(step=1),
    "sum of losses": lambda s: s["progress"].update(loss=0.0),
    "pixels drawn": lambda s: s["progress"].update(drawn_K=[0, 0, 0]),
    "early stop and plateau": lambda s: s["progress"].update(history=[{**s["progress"]["history"][0], "val_mcc": 0.1}]),
    "best score": lambda s: s["progress"].update(best_score=0.0),
    "best weights": lambda s: s["progress"].update(best_weights=shifted(s["progress"]["best_weights"])),
}


@pytest.fixture(scope="module")
def cut_states():
    return []


@pytest.mark.parametrize("piece", PIECES)
def test_no_piece_of_the_state_can_be_missed(data, whole, cut_states, tmp_path, piece):
    if not cut_states:
        stopped(data, tmp_path / "first")
        cut_states.append((tmp_path / "first/print/state.pt").read_bytes())
    folder = tmp_path / "cut/print"
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(cut_states[0])
    state = torch.load(folder / "state.pt", weights_only=True)
    PIECES[piece](state)
    torch.save(state, folder / "state.pt")
    assert train(data.store, data.split, tmp_path / "cut", scores=SCORES[1:]) != whole


def test_killed_it_ends_the_same(data, whole, tmp_path, project):
    root = data.scenes.parent
    surroundings = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, resume_setup.__file__, str(root), str(tmp_path / "cut"), "11"],
                          env=surroundings, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    state = torch.load(tmp_path / "cut/print/state.pt", weights_only=True)
    # Ten steps, of 4 in an epoch.
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (2, 2)
    assert train(data.store, data.split, tmp_path / "cut", scores=SCORES[2:]) == whole


def test_weights_to_start_from_must_fit(data, tmp_path):
    params = resume_setup.TrainParams.model_validate(resume_setup.PARAMS)
    spec = resume_setup.prepare(data.store, data.split, resume_setup.TASK, params, seed=5).spec
    segmenter = resume_setup.build(spec)
    name = "body.segmentation_head.0.weight"
    start = {name: torch.full_like(segmenter.state_dict()[name], 0.25)}
    assert begin_with(segmenter, start).state_dict()[name].unique().tolist() == [0.25]
    with pytest.raises(ModelError, match=r"of the same shapes: \['odd', 'body.segmentation_head.0.weight'\] are not"):
        begin_with(segmenter, {"odd": torch.zeros(1), name: torch.zeros(1)})


def test_it_is_saved_by_the_clock_but_for_a_hundredth_of_the_time_at_most(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(keeper.time, "monotonic", lambda: clock[0])

    class Slow:
        def save(self, state):
            clock[0] += 0.5

    fabric = Fabric(accelerator="cpu", devices=1)
    network = torch.nn.Linear(1, 1)
    made = keeper.Keeper(fabric, Ranks(fabric), Slow(), network, torch.optim.SGD(network.parameters()), None, 30.0)
    clock[0] = 29.0
    assert not made.due()
    assert made.due(within_epoch=False)
    clock[0] = 30.0
    assert made.due()
    made.save(Progress(), [])
    clock[0] = 30.5 + 49.0
    assert not made.due(within_epoch=False)
    clock[0] = 30.5 + 50.0
    assert made.due(within_epoch=False)
    assert made.due()
