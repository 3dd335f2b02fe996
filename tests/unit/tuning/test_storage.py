"""Where studies are kept: URLs without their passwords, claims that die with their process, journals torn by a kill."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest

from pipeline.errors import IntegrityError, ParamsError
from pipeline.tuning.storage import Place, StorageError, held, is_held

SECRET = "postgresql://somebody:s3cret@db.example:6432/studies?sslpassword=s4cret"


@pytest.mark.parametrize(("url", "said"), [
    ("sqlite:///study.db", "got a URL of 'sqlite'"),
    ("mysql://somebody:s3cret@db.example/studies", "got a URL of 'mysql'"),
    ("s3cret and no URL", "what is given is no URL"),
    ("postgresql://somebody:s3cret@db.example:port/studies", "what is given is no URL"),
])
def test_only_postgresql_is_taken_and_nothing_is_repeated(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(ParamsError, match=r"--storage must be postgresql://user@host/database") as caught:
        Place(tmp_path, url)
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_place_shows_neither_user_nor_password(tmp_path: Path) -> None:
    place = Place(tmp_path, SECRET)
    assert place.shown == "postgresql://db.example:6432/studies"
    assert place.kind == "postgresql"
    assert "cret" not in repr(place)
    assert place.redacted(f"\n no {SECRET} and no s3cret\nmore") == "no *** and no ***"
    assert (Place(tmp_path).shown, Place(tmp_path).kind) == ("journal", "journal")


def test_a_database_that_does_not_answer_is_said_without_the_password(tmp_path: Path) -> None:
    place = Place(tmp_path, "postgresql://somebody:s3cret@127.0.0.1:9/studies")
    with pytest.raises(StorageError, match=r"postgresql://127.0.0.1:9/studies must answer: .*refused") as caught:
        place.open("study")
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(StorageError), place.claim("study"):
        pass


def claimed_by_one_at_a_time(place: Place) -> None:
    inside, begun, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        begun.set()
        with place.claim("study"):
            seen.append(inside.is_set())

    with place.claim("study"):
        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        assert begun.wait(60)
        thread.join(0.3)
        assert thread.is_alive()
        inside.set()
    thread.join(60)
    assert not thread.is_alive()
    assert seen == [True]
    with place.claim("study"), place.claim("another"):
        pass


def test_one_at_a_time_claims_a_journal(tmp_path: Path) -> None:
    claimed_by_one_at_a_time(Place(tmp_path))


def test_one_at_a_time_claims_a_database(tmp_path: Path, postgres: str) -> None:
    claimed_by_one_at_a_time(Place(tmp_path, postgres))


def test_a_claim_dies_with_its_process(tmp_path: Path, postgres: str) -> None:
    script = ("import sys, time\nfrom pathlib import Path\nfrom pipeline.tuning.storage import Place\n"
              "with Place(Path(sys.argv[1]), sys.argv[2]).claim('study'):\n"
              "  print('held', flush=True)\n  time.sleep(600)")
    root = Path(__file__).resolve().parents[3]
    for url in ("", postgres):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), url], cwd=root, text=True,
                                   stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
        finally:
            process.kill()
            process.communicate()
        with Place(tmp_path, url).claim("study"):
            pass


def test_a_worker_lives_as_long_as_its_lock_is_held(tmp_path: Path) -> None:
    file = tmp_path / "workers/one.lock"
    assert not is_held(file)
    with held(file):
        assert is_held(file)
        with pytest.raises(IntegrityError, match=r"a worker must have a name of its own: one lives"), held(file):
            pass
    assert not file.exists()
    with pytest.raises(KeyError), held(file):
        raise KeyError
    assert file.exists()  # as after a kill: whoever looks knows at once that its worker is gone
    assert not is_held(file)


def test_a_journal_torn_by_a_kill_is_read_and_written_on(tmp_path: Path) -> None:
    place = Place(tmp_path)
    study = optuna.create_study(study_name="study", storage=place.open("study"), direction="maximize")
    study.add_trial(optuna.create_trial(value=0.5))
    whole = place.journal("study").read_bytes()
    with place.journal("study").open("ab") as file:
        file.write(b'{"op_code":4,"work')
    again = optuna.load_study(study_name="study", storage=place.open("study"))
    again.add_trial(optuna.create_trial(value=0.75))
    assert place.journal("study").read_bytes().startswith(whole)
    fresh = optuna.load_study(study_name="study", storage=place.open("study"))
    assert [trial.value for trial in fresh.get_trials()] == [0.5, 0.75]


def test_studies_are_found_by_the_beginning_of_their_names(tmp_path: Path, postgres: str) -> None:
    for place in (Place(tmp_path), Place(tmp_path, postgres)):
        for number, name in enumerate(("found-1", "found-2", "other-1")):
            optuna.create_study(study_name=name, storage=place.open(name))
            if not place.url:
                os.utime(place.journal(name), (1000 - number, 1000 - number))
        assert set(place.studies("found-")) == {"found-1", "found-2"}
        assert place.exists("other-1")
        assert not place.exists("other")
    assert Place(tmp_path).studies("found-") == ["found-2", "found-1"]  # the latest written last


def test_a_password_with_braces_and_spaces_is_passed_on(tmp_path: Path, postgres: str) -> None:
    assert "%7B0%7D" in postgres
    optuna.create_study(study_name="braces", storage=Place(tmp_path, postgres).open("braces"))


def test_a_database_of_another_optuna_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("The runtime optuna version 9 is no longer compatible with the table schema")

    import contextlib

    monkeypatch.setattr(Place, "claim", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(optuna.storages.RDBStorage, "__init__", refuse)
    with pytest.raises(StorageError, match=r"must be of this version of optuna: The runtime optuna version 9"):
        Place(tmp_path, SECRET).open("study")


def test_a_journal_that_was_cut_off_before_its_first_line_is_no_study(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for name in ("a-0", "a-1"):
        optuna.create_study(study_name=name, storage=place.open(name))
    place.journal("a-2").touch()
    assert sorted(place.studies("a-")) == ["a-0", "a-1"]
    assert not place.exists("a-2")
    optuna.create_study(study_name="a-2", storage=place.open("a-2"))
    assert place.exists("a-2")
