"""The searches that come with the recipes fit them."""

import warnings
from pathlib import Path

import pytest

from pipeline.params.load import parse
from pipeline.params.recipes import overlay
from pipeline.params.train import TrainParams
from pipeline.tuning.corners import check_space, present
from pipeline.tuning.space import read_space

TUNE = Path(__file__).resolve().parents[3] / "recipes/tune"


@pytest.mark.parametrize("name", sorted(path.stem for path in TUNE.glob("*.yaml")))
def test_a_recipes_search_has_valid_corners_and_begins_with_the_recipe(project: Path, name: str) -> None:
    recipes = project / "recipes"
    text = overlay((recipes / "settlement.yaml").read_text(encoding="utf-8"),
                   (recipes / f"{name}.yaml").read_text(encoding="utf-8"))[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a recipe's own
        params = parse(text)
    tune = read_space(TUNE / f"{name}.yaml")
    check_space(params, tune)
    first = present(params, tune)
    assert first is not None
    assert first.keys() == tune.space.keys()
    train = params.section(TrainParams)
    assert tune.epochs is not None
    assert tune.epochs <= train.epochs
    assert tune.metric.replace(".", ":") == train.monitor


def test_there_is_one_for_the_default_recipe() -> None:
    assert (TUNE / "settlement.yaml").exists()
