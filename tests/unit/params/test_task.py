"""The names of channels, and what texture may be, are refused before any stage starts."""

import pytest
from pydantic import ValidationError

from pipeline.params.task import Task, TextureParams, texture_of

BANDS = ["red", "nir"]


def task(**changes: object) -> Task:
    classes = [{"name": n, "color": "#102030"} for n in ("land", "water")]
    return Task.model_validate({"bands": BANDS, "classes": classes, **changes})


def test_names_of_channels() -> None:
    given = task(channels=["nir", "NDVI", "glcm_energy_red"])
    assert given.channels == ("nir", "NDVI", "glcm_energy_red")
    assert task().channels == ()
    assert texture_of("glcm_energy_red_edge") == ("energy", "red_edge")
    assert texture_of("NDVI") is None


@pytest.mark.parametrize(("changes", "said"), [
    ({"channels": ["NVDI"]}, r"got 'NVDI'; did you mean NDVI\?"),
    ({"channels": ["glcm_energy_blue"]}, r"of one of task\.bands \['red', 'nir'\]: got 'blue'"),
    ({"channels": ["nir", "nir"]}, r"\['nir'\] occur twice"),
    ({"channels": ["glcm_energy_red"], "texture": {"window_px": 6}}, r"texture\.window_px must be odd: got 6"),
    ({"channels": ["glcm_energy_red"], "texture": {"window_px": 3, "distance_px": 3}}, r"smaller than window_px=3"),
    ({"channels": ["glcm_energy_red"], "texture": {"low": 0.5}}, r"low must be below texture\.high=0\.5: got 0\.5"),
    ({"channels": ["glcm_energy_red"], "texture": {"levels": 256}}, "less than or equal to 255"),
    ({"channels": ["glcm_energy_red"], "texture": {"window_px": 65}}, "less than or equal to 63"),
])
def test_what_cannot_be(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        task(**changes)


def test_texture_that_no_channel_uses_is_told() -> None:
    task(texture=TextureParams().model_dump())
    with pytest.warns(UserWarning, match=r"task\.texture has no effect: task\.channels has no glcm_"):
        task(channels=["NDVI"], texture={"levels": 16})
