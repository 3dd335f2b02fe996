import pytest

from pipeline.exporters.model_card import _split


@pytest.mark.parametrize(("buffer_m", "end"), [
    (50.0, "a sealed test part; no train label lies within 50 m of held-out ground."), (0.0, "a sealed test part.")])
def test_the_buffer_is_named_where_there_is_one(buffer_m: float, end: str) -> None:
    said = _split({"block_size_m": 640.0, "folds": 5, "buffer_m": buffer_m})
    assert said == f"Randomized blocks of 640 m in 5 folds and {end}"
