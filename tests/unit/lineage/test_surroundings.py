"""What of a machine and its libraries is not as it was."""

import importlib.metadata
import platform

import pytest

from pipeline.lineage import surroundings
from pipeline.lineage.surroundings import differences, expected_differences, lock_differences
from pipeline.training.cpu import cpu_type

HERE = {"cpu": cpu_type(), "python": platform.python_version(), "device": "cpu", "threads": 3,
        "libraries": {"numpy": importlib.metadata.version("numpy")}}


def test_the_same_machine_has_no_differences() -> None:
    assert expected_differences({"acquire": HERE, "export": HERE}) == ()


def test_each_difference_is_said_once() -> None:
    old = {**HERE, "cpu": "abacus", "libraries": {"numpy": "0.1", "unheard": "1"}}
    assert expected_differences({"acquire": old, "export": old}) == (
        f"cpu: abacus -> {cpu_type()}", f"numpy: 0.1 -> {importlib.metadata.version('numpy')}")


def test_the_device_and_what_the_processor_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_accelerators", lambda: ["NVIDIA A"])
    monkeypatch.setattr(surroundings, "_capability", lambda: "AVX2")
    trained = {**HERE, "device": "NVIDIA A", "cpu_capability": "AVX2"}
    assert expected_differences({"train": trained}) == ()
    trained |= {"device": "NVIDIA B", "cpu_capability": "AVX512"}
    assert expected_differences({"train": trained}) == ("cpu_capability: AVX512 -> AVX2",
                                                        "device: NVIDIA B -> NVIDIA A")


def test_installed_versions_against_the_lock() -> None:
    numpy = importlib.metadata.version("numpy")
    lock = f"numpy=={numpy} ; python_version < '3'\nnumpy==9.9 ; python_version > '3' \\\n    --hash=sha256:1\n"
    assert lock_differences(lock + "not-installed-anywhere==1\n") == ()
    assert lock_differences("numpy==9.9 \\\n    --hash=sha256:1\nnumpy==8.8\n") == (
        f"numpy: 9.9 or 8.8 in the lock -> {numpy} installed",)


def test_a_local_build_is_the_locked_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.1+cpu")
    assert lock_differences("torch==2.1\n") == ()
    assert lock_differences("torch==2.2\n") == ("torch: 2.2 in the lock -> 2.1+cpu installed",)


def test_two_records_key_by_key() -> None:
    old, new = {"a": 1, "b": {"c": 2, "d": 3}, "gone": 4}, {"a": 1, "b": {"c": 5, "d": 3}, "new": 6}
    assert differences(old, new) == {"b.c": (2, 5), "gone": (4, None), "new": (None, 6)}
