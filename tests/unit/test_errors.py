"""Errors of the user's making take one line; bugs keep their traceback."""

import pytest

from pipeline.errors import KumulusError, SceneError, one_line_errors


def test_kumulus_error_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, one_line_errors("rasterize"):
        raise SceneError("scene a must have a CRS: got none; set crs")
    assert caught.value.code == 1
    assert capsys.readouterr() == ("", "rasterize: scene a must have a CRS: got none; set crs\n")


def test_bugs_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), one_line_errors("rasterize"):
        _ = 1 / 0


def test_every_error_is_a_kumulus_error() -> None:
    assert issubclass(SceneError, KumulusError)
