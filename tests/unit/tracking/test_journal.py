"""The journal: what is written is read back, copies are kept, and a kill shows."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.digests import CODE_ROOT, file_sha256
from pipeline.errors import IntegrityError
from pipeline.tracking.journal import Journal, begin, flat, is_over, journals, read, writer_lives
from pipeline.types import RunLog

WRITER = """
import sys, time
from pathlib import Path
from pipeline.tracking.journal import Journal
journal = Journal.create(Path(sys.argv[1]), "key", "train", "name", {})
journal.metrics({"loss": 1.0}, 0)
print(journal.folder, flush=True)
time.sleep(60)
"""


def test_events_come_back_in_order_with_times_and_offsets(tmp_path: Path) -> None:
    log: RunLog = Journal.create(tmp_path, "key", "train", "name", {"a": "b"})
    log.metrics({"loss": 0.5, "score": float("nan")}, 3)
    log.tags({"kumulus.x": "1"})
    log.dataset("scenes", "abc", "data/scenes", "training")
    assert isinstance(log, Journal)
    log.close("FINISHED")
    events = list(read(log.folder))
    assert [event.kind for event in events] == ["begin", "metrics", "tags", "dataset", "end"]
    assert events[1].fields["values"]["loss"] == 0.5
    assert events[1].fields["step"] == 3
    assert [event.t for event in events] == sorted(event.t for event in events)
    assert [event.kind for event in read(log.folder, events[1].next_offset)] == ["tags", "dataset", "end"]
    assert begin(log.folder).fields["tags"] == {"a": "b"}


def test_params_are_flattened_and_kept_whole(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "key", "train", "name", {})
    values = {"train": {"lr": 1e-3, "channels": (1, 2)}, "seed": 3}
    journal.params(values)
    event = list(read(journal.folder))[1]
    assert event.fields["values"] == {"train.lr": "0.001", "train.channels": "[1, 2]", "seed": "3"}
    assert event.fields["whole"] == {"train": {"lr": 1e-3, "channels": [1, 2]}, "seed": 3}
    journal.close("FINISHED")


def test_names_that_mlflow_refuses_become_json() -> None:
    assert flat({"a": {"b": {}, "c": True, "d": "text", "e": None}}) == {
        "a.b": "{}", "a.c": "true", "a.d": "text", "a.e": "null"}
    assert flat({"classes": {"Wald/Forêt": "forest"}}) == {"classes": '{"Wald/Forêt": "forest"}'}


def test_an_artifact_is_what_it_was_when_it_was_recorded(tmp_path: Path) -> None:
    figure = tmp_path / "figure.png"
    figure.write_bytes(b"before")
    journal = Journal.create(tmp_path / "journal", "key", "train", "name", {})
    journal.artifact(figure, "figures")
    figure.write_bytes(b"after")
    journal.close("FINISHED")
    fields = list(read(journal.folder))[1].fields
    kept = journal.folder / fields["file"]
    assert (kept.read_bytes(), kept.name, fields["folder"]) == (b"before", "figure.png", "figures")
    assert fields["sha256"] == file_sha256(kept)


def test_what_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "key", "train", "name", {})
    with pytest.raises(ValueError, match="got \\['IoU=1'\\]"):
        journal.metrics({"IoU=1": 1.0})
    with pytest.raises(IntegrityError, match="must be a file"):
        journal.artifact(tmp_path / "none.png")
    journal.close("FAILED")
    with pytest.raises(ValueError, match="a closed journal cannot record: got 'tags'"):
        journal.tags({})


def test_two_runs_of_a_stage_do_not_meet(tmp_path: Path) -> None:
    first = Journal.create(tmp_path, "key", "evaluate", "name", {})
    second = Journal.create(tmp_path, "key", "evaluate", "name", {})
    assert [first.folder.name, second.folder.name] == ["key-evaluate-1", "key-evaluate-2"]
    assert begin(first.folder).fields["journal"] != begin(second.folder).fields["journal"]
    assert journals(tmp_path) == [first.folder, second.folder]
    assert (tmp_path / ".gitignore").read_text() == "*\n"
    first.close("FINISHED")
    second.close("FINISHED")


def test_a_line_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "key", "train", "name", {})
    journal.metrics({"loss": 1.0})
    journal.close("FINISHED")
    assert is_over(journal.folder)
    file = journal.folder / "events.jsonl"
    file.write_bytes(file.read_bytes()[:-3])
    assert [event.kind for event in read(journal.folder)] == ["begin", "metrics"]
    assert not is_over(journal.folder)


def test_a_killed_writer_is_known_by_its_lock(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=CODE_ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer, writer.stdout as out:
        folder = Path(out.readline().strip())
        assert writer_lives(folder)
        os.kill(writer.pid, signal.SIGKILL)
    assert not writer_lives(folder)
    assert not is_over(folder)
    assert json.loads((folder / "events.jsonl").read_text().splitlines()[-1])["kind"] == "metrics"
