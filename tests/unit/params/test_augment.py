"""Settings of augmentation: off by default, checked against the task, and a warning where one has no effect."""

import pytest

from pipeline.params.augment import AugmentParams
from pipeline.params.patches import PatchParams
from pipeline.params.task import Task

TASK = Task(bands=("red", "dem"), classes=({"name": "ice", "color": "#ffffff"}, {"name": "lake", "color": "#0000ff"}))


def test_everything_is_off_by_default():
    params = AugmentParams()
    assert (params.warps, params.changes_values, params.mixes) == (False, False, False)
    assert PatchParams().augmentation == params


@pytest.mark.parametrize(("setting", "kind"), [
    ("shift", "warps"), ("scale", "warps"), ("rotate_deg", "warps"), ("elastic_px", "warps"),
    ("grid_distortion", "warps"), ("brightness", "changes_values"), ("band_brightness", "changes_values"),
    ("contrast", "changes_values"), ("gamma", "changes_values"), ("noise", "changes_values"),
    ("band_dropout", "changes_values"), ("cutmix", "mixes")])
def test_one_number_turns_one_augmentation_on(setting, kind):
    params = AugmentParams(**{setting: 0.1})
    assert {name: getattr(params, name) for name in ("warps", "changes_values", "mixes")} == {
        name: name == kind for name in ("warps", "changes_values", "mixes")}


def test_copy_paste_needs_classes():
    with pytest.raises(ValueError, match=r"copy_paste_classes must name the classes to paste .* got \[\]"):
        AugmentParams(copy_paste=0.5)
    assert AugmentParams(copy_paste=0.5, copy_paste_classes=("lake",)).mixes


@pytest.mark.parametrize(("settings", "message"), [
    ({"warped": 0.5}, r"augmentation\.warped has no effect: shift, scale, rotate_deg, elastic_px, grid_distortion are"),
    ({"warped": 0, "shift": 0.1}, "the warps of train.patches.augmentation have no effect: warped is 0"),
    ({"elastic_smooth_px": 4, "shift": 0.1}, "elastic_smooth_px has no effect: elastic_px is 0"),
    ({"value_bands": ("red",)}, "value_bands has no effect: brightness, .*, band_dropout are 0"),
    ({"copy_paste_classes": ("lake",)}, "copy_paste_classes has no effect: copy_paste is 0"),
])
def test_a_setting_without_effect_warns(settings, message):
    with pytest.warns(UserWarning, match=message):
        AugmentParams(**settings)


def test_names_are_the_tasks():
    AugmentParams(copy_paste=0.5, copy_paste_classes=("lake",), noise=1, value_bands=("red",)).check(TASK)
    with pytest.raises(ValueError, match=r"copy_paste_classes must name a class of .* got 'lakes'"):
        AugmentParams(copy_paste=0.5, copy_paste_classes=("lakes",)).check(TASK)
    with pytest.raises(ValueError, match=r"value_bands must be among task\.bands \['red', 'dem'\]: got \['nir'\]"):
        AugmentParams(noise=1, value_bands=("nir",)).check(TASK)
