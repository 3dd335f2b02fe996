"""A recipe is laid over params.yaml key by key; comments stay, and nothing invalid is ever written."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.errors import ParamsError
from pipeline.params.load import parse
from pipeline.params.recipes import available, overlay, use, without_leftovers

BASE = """\
# head
seed: 42        # the seed

task:
  bands: [blue, red]   # names
  classes:    # ids by place
    - {name: land, color: "#000000"}   # first
    - {name: sea, color: "#ffffff"}
  background: land

train:
  loss:
    weights: {cross_entropy: 1.0, dice: 0.5}   # sum
  epochs: 30     # passes
  # about the batch
  batch_size: 8

export:
  class_shares:
    land: {min: 0.1}
  registered_name: toy
"""


def plain(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_empty_changes_leave_every_byte() -> None:
    assert overlay(BASE, BASE) == (BASE, [])


def test_scalar_keeps_comment_and_its_column() -> None:
    text, changed = overlay(BASE, "train: {epochs: 5}\nseed: 7\n")
    wanted = BASE.replace("epochs: 30     # passes", "epochs: 5      # passes")
    assert text == wanted.replace("seed: 42  ", "seed: 7   ")
    assert changed == ["train.epochs", "seed"]


def test_equal_values_written_otherwise_are_no_change() -> None:
    assert overlay(BASE, "train: {loss: {weights: {dice: 5e-1}}}\n") == (BASE, [])


def test_value_keeps_the_recipes_words() -> None:
    text, _ = overlay(BASE, 'train: {epochs: 0x10}\nexport: {registered_name: "a b"}\n')
    assert "epochs: 0x10" in text
    assert 'registered_name: "a b"' in text


def test_sections_merge_but_lists_and_free_mappings_are_replaced() -> None:
    text, changed = overlay(BASE, "train: {loss: {weights: {dice: 0.7}}}\ntask: {bands: [nir]}\n"
                                  "export: {class_shares: {sea: {max: 0.5}}}\n")
    merged = plain(text)
    assert merged["train"]["loss"]["weights"] == {"cross_entropy": 1.0, "dice": 0.7}
    assert merged["task"]["bands"] == ["nir"]
    assert merged["export"]["class_shares"] == {"sea": {"max": 0.5}}
    assert changed == ["train.loss.weights.dice", "task.bands", "export.class_shares"]


def test_block_and_flow_replace_each_other() -> None:
    recipe = "task:\n  bands:\n    - nir\n    - red\n  classes: [{name: land, color: '#000000'}]\n"
    text, _ = overlay(BASE, recipe)
    assert plain(text)["task"] == {**plain(recipe)["task"], "background": "land"}
    assert "classes:    # ids by place" in text
    back, _ = overlay(text, BASE)
    assert plain(back) == plain(BASE)


@pytest.mark.parametrize("value", ["[nir]", "\n    - nir\n    - red", "\n  - nir"])
def test_list_that_begins_in_the_column_of_its_key(value: str) -> None:
    base = "task:\n  bands:   # names\n  - blue\n  - red\n  background: land\n"
    recipe = f"task:\n  bands: {value}\n"
    assert plain(overlay(base, recipe)[0])["task"] == {**plain(recipe)["task"], "background": "land"}


def test_new_keys_go_behind_the_last_of_their_section() -> None:
    text, changed = overlay(BASE, "task:\n  reflectance_scale: 1\ntrain:\n  schedule:\n    name: plateau\n"
                                  "rasterize:\n  resolution: 10\n")
    assert "  background: land\n  reflectance_scale: 1\n\ntrain:" in text
    assert "  batch_size: 8\n  schedule:\n    name: plateau\n\nexport:" in text
    assert text.endswith("registered_name: toy\nrasterize:\n  resolution: 10\n")
    assert changed == ["task.reflectance_scale", "train.schedule", "rasterize"]


def test_new_keys_in_a_flow_mapping_and_an_empty_value() -> None:
    assert plain(overlay(BASE, "train: {loss: {weights: {focal: 1}}}\n")[0])["train"]["loss"]["weights"] == {
        "cross_entropy": 1.0, "dice": 0.5, "focal": 1}
    assert overlay("train:\n  epochs:\n  batch_size: 2\n", "train: {epochs: 3}\n")[0] == \
        "train:\n  epochs: 3\n  batch_size: 2\n"


def test_text_without_final_newline() -> None:
    assert overlay("seed: 1", "task: {kind: segmentation}")[0] == "seed: 1\ntask: {kind: segmentation}"


@pytest.mark.parametrize(("recipe", "message"), [
    ("a: [", "recipe must be YAML 1.2"), ("- 1", "recipe must hold sections"), ("", "sections: got nothing")])
def test_recipe_that_is_no_mapping(recipe: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        overlay(BASE, recipe)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(BASE, encoding="utf-8")
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "short.yaml").write_text("# short: a quick look\ntrain: {epochs: 2}\n", encoding="utf-8")
    (recipes / "broken.yaml").write_text("train: {epoch: 2}\n", encoding="utf-8")
    return tmp_path


def test_available_shows_first_comment(folder: Path) -> None:
    found = [(r.name, r.summary) for r in available(folder / "recipes")]
    assert found == [("broken", ""), ("short", "short: a quick look")]


def test_use_writes_and_tells(folder: Path) -> None:
    assert use(folder / "params.yaml", folder / "recipes", "short") == ["train.epochs"]
    assert plain((folder / "params.yaml").read_text(encoding="utf-8"))["train"]["epochs"] == 2
    assert use(folder / "params.yaml", folder / "recipes", "short") == []


def test_invalid_result_is_not_written(folder: Path) -> None:
    with pytest.raises(ParamsError, match=r"recipe broken must give a valid params\.yaml, .*'epochs'"):
        use(folder / "params.yaml", folder / "recipes", "broken")
    assert (folder / "params.yaml").read_text(encoding="utf-8") == BASE


def test_unknown_recipe_and_missing_params(folder: Path) -> None:
    with pytest.raises(ParamsError, match=r"recipe must be one of \['broken', 'short'\]: got 'x'"):
        use(folder / "params.yaml", folder / "recipes", "x")
    with pytest.raises(ParamsError, match=r"none\.yaml must exist"):
        use(folder / "none.yaml", folder / "recipes", "short")


def test_projects_recipes_are_valid_and_lead_back_to_the_default(project: Path) -> None:
    recipes = {r.name: r.path.read_text(encoding="utf-8") for r in available(project / "recipes")}
    assert "settlement" in recipes
    default = parse(recipes["settlement"]).dump()
    for name, text in recipes.items():
        there, _ = overlay(recipes["settlement"], text)
        assert parse(there, name).seed >= 0
        cleared, gone = without_leftovers(there, "settlement", recipes)
        assert all(not key.startswith("seed") for key in gone)
        back = parse(overlay(cleared, recipes["settlement"])[0]).dump()
        for result in (back, default):  # files of one's own stay noted, without effect on the synthetic source
            result["acquire"].pop("local", None)
        assert back == default, f"the way back from {name}"


RECIPES = {
    "settlement": "seed: 1\ntrain:\n  loss: {weights: {dice: 1}}\n  epochs: 3\n",
    "other": "train:\n  ema_decay: 0.5\n  loss:\n    weights: {focal: 1, mcc: 1}\n    label_smoothing: 0\n"
             "    ramp: {terms: [mcc]}\n",
    "small": "train:\n  ema_decay: 0.9\n"}


def test_what_another_recipe_brought_is_taken_out_and_nothing_else() -> None:
    params = ("seed: 1  # mine\ntrain:\n  folds: 5  # kept: no recipe names it\n  ema_decay: 0.5  # gone\n"
              "  loss: {weights: {focal: 1.0, dice: 1, mcc: 3}, label_smoothing: 0, ramp: {terms: [mcc]}}\n"
              "  epochs: 3\n")
    text, gone = without_leftovers(params, "settlement", RECIPES)
    assert text == ("seed: 1  # mine\ntrain:\n  folds: 5  # kept: no recipe names it\n"
                    "  loss: {weights: {dice: 1, mcc: 3}}\n  epochs: 3\n")
    assert gone == ["train.ema_decay: 0.5", "train.loss.weights.focal: 1.0", "train.loss.label_smoothing: 0",
                    "train.loss.ramp.terms: [mcc]"]
    text, gone = without_leftovers(params, "small", RECIPES)
    assert "ema_decay: 0.5  # gone" in text
    assert "focal" not in text
    assert without_leftovers(params, "small", {"small": RECIPES["small"]}) == (params, [])


def test_what_the_user_wrote_stays_though_a_recipe_has_the_key_or_by_chance_the_value() -> None:
    params = "train:\n  ema_decay: 0.5\n  loss: {weights: {dice: 1, focal: 2, mcc: 3}}\n"
    assert without_leftovers(params, "settlement", RECIPES) == (params, [])  # one of five values of `other`


def test_a_section_left_empty_goes_whole_and_a_value_of_null_never_appears() -> None:
    params = ("train:\n  epochs: 3\n  loss:\n    # about weights\n    weights:\n      focal: 1\n      mcc: 1\n"
              "    label_smoothing: 0\n")
    text, _ = without_leftovers(params, "settlement", RECIPES)
    assert text == "train:\n  epochs: 3\n"
    text, _ = without_leftovers("train: {loss: {weights: {focal: 1, mcc: 1}, label_smoothing: 0}, epochs: 3}\n",
                                "settlement", RECIPES)
    assert text == "train: {epochs: 3}\n"


@pytest.mark.parametrize(("weights", "left"), [
    ("{focal: 1, mcc: 1, dice: 2}", "{dice: 2}"), ("{dice: 2, focal: 1, mcc: 1}", "{dice: 2}"),
    ("{focal: 1, dice: 2, mcc: 1}", "{dice: 2}"), ("{focal: 1, dice: 2, mcc: 1, tversky: 3}", "{dice: 2, tversky: 3}"),
    ("{focal: 7, dice: 2, mcc: 1}", "{focal: 7, dice: 2}")])
def test_entries_on_one_line_go_with_their_commas(weights: str, left: str) -> None:
    rest = "    label_smoothing: 0\n    ramp: {terms: [mcc]}\n"
    text, _ = without_leftovers(f"train:\n  loss:\n    weights: {weights}\n{rest}  epochs: 3\n", "settlement", RECIPES)
    assert text == f"train:\n  loss:\n    weights: {left}\n  epochs: 3\n"


def test_a_run_at_the_front_of_a_line_goes_with_its_commas() -> None:
    recipes = {"settlement": "train:\n  optimizer: {lr: 1e-3}\n",
               "other": "train:\n  optimizer: {name: sgd, momentum: 0.8}\n"}
    text, _ = without_leftovers("train:\n  optimizer: {name: sgd, momentum: 0.8, lr: 1e-2}\n", "settlement", recipes)
    assert text == "train:\n  optimizer: {lr: 1e-2}\n"


def test_settings_of_ones_own_survive_the_way_to_the_default_and_back(project: Path, tmp_path: Path) -> None:
    file, own = tmp_path / "params.yaml", "  folds: 5\n  ema_decay: 0.99\n"
    default = (project / "recipes/settlement.yaml").read_text(encoding="utf-8")
    file.write_text(default.replace("  epochs: 50\n", f"  epochs: 50\n{own}").replace(
        "  tiles: {size_px: 256", "  tta: d4\n  tiles: {size_px: 256"), encoding="utf-8")
    before = file.read_text(encoding="utf-8")
    assert use(file, project / "recipes", "settlement") == []
    assert file.read_text(encoding="utf-8") == before
    use(file, project / "recipes", "settlement-b7")
    assert own in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["settlement", "settlement-b7"])
def test_after_glacier_comes_a_whole_recipe_and_what_went_is_told(name: str, project: Path, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text((project / "recipes/settlement.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    use(file, project / "recipes", "glacier")
    text = file.read_text(encoding="utf-8").replace("ema_decay: 0.95", "ema_decay: 0.99")
    file.write_text(text, encoding="utf-8")
    told = use(file, project / "recipes", name)
    assert "removed train.folds: 5" in told
    assert "removed acquire.synthetic.kind: glacier" in told
    found = plain(file.read_text(encoding="utf-8"))
    wanted = plain((project / f"recipes/{name}.yaml").read_text(encoding="utf-8"))
    assert found["train"].pop("ema_decay") == 0.99  # not the recipe's value, so not the recipe's
    assert found == wanted
