"""Downloads are kept after a failure and deleted after success; waits double."""

from pathlib import Path

import pytest

from pipeline.errors import SceneError
from pipeline.params.acquire_remote import Retrying
from pipeline.sources import downloads
from pipeline.sources.downloads import kept_downloads, repeat

REQUEST = {"url": "https://a", "area": [1, 2, 3, 4]}


def test_what_was_read_is_kept_after_failure_and_deleted_after_success(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), kept_downloads(tmp_path, REQUEST) as folder:
        (folder / "part").write_text("half")
        raise RuntimeError("boom")
    with kept_downloads(tmp_path, {"other": 1}) as other:
        assert other != folder
    with kept_downloads(tmp_path, dict(reversed(REQUEST.items()))) as again:
        assert (again / "part").read_text() == "half"
        with pytest.raises(SceneError, match="one process at a time"), kept_downloads(tmp_path, REQUEST):
            pass
    assert list(tmp_path.iterdir()) == [], "no lock either"
    with kept_downloads(tmp_path, REQUEST):
        pass


class Flaky:
    """Fails `times` times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise OSError(f"{self.left} left")
        return "done"


def test_waits_double(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(downloads.time, "sleep", waits.append)
    retry = Retrying(times=3, wait_s=0.5)
    assert repeat(Flaky(3), lambda _: True, (OSError,), retry) == "done"
    assert waits == [0.5, 1.0, 2.0]
    with pytest.raises(OSError, match="0 left"):
        repeat(Flaky(4), lambda _: True, (OSError,), retry)
    waits.clear()
    with pytest.raises(OSError, match="3 left"):
        repeat(Flaky(4), lambda _: False, (OSError,), retry)
    with pytest.raises(OSError, match="1 left"):
        repeat(Flaky(2), lambda _: True, (ValueError,), retry)
    assert waits == []
