"""Channels come by name in the asked order, and no pixel beyond the halo or given as NaN has a say in them."""

import pickle

import numpy as np
import pytest

from pipeline.errors import ParamsError, SceneError
from pipeline.features.channels import ChannelRecipe
from pipeline.features.texture import texture
from pipeline.params.task import Task, TextureParams

BANDS = ("blue", "green", "red", "nir", "dem")
CHANNELS = ("nir", "NDVI", "glcm_contrast_nir", "dem", "glcm_entropy_nir", "glcm_homogeneity_red", "NDWI")
TEXTURE = TextureParams(window_px=5, levels=16)
RECIPE = ChannelRecipe.named(BANDS, CHANNELS, TEXTURE, 10000.0)


def scene(seed=0, shape=(40, 50)):
    image = np.random.default_rng(seed).integers(1, 5000, (len(BANDS), *shape)).astype(np.float32)
    image[:, 7:9, 11:14] = np.nan
    return image


def task(**changes):
    classes = [{"name": n, "color": "#102030"} for n in ("land", "water")]
    return Task.model_validate({"bands": BANDS, "classes": classes, **changes})


def test_each_channel_is_what_its_name_says() -> None:
    image = scene()
    channels = dict(zip(CHANNELS, RECIPE.compute(image), strict=True))
    _, green, red, nir, dem = image
    expected = {"nir": nir, "dem": dem, "NDVI": (nir - red) / (nir + red), "NDWI": (green - nir) / (green + nir)}
    for name, values in expected.items():
        np.testing.assert_allclose(channels[name], values, rtol=2e-6, atol=2e-7)
    assert np.array_equal(channels["nir"], nir, equal_nan=True)  # as it is, in scene units
    for name, band in (("contrast", nir), ("entropy", nir), ("homogeneity", red)):
        alone = texture(band / np.float32(10000), (name,), TEXTURE)[name]
        assert np.array_equal(channels[f"glcm_{name}_{'red' if band is red else 'nir'}"], alone, equal_nan=True)
    assert all(values.dtype == np.float32 for values in channels.values())


def test_without_channels_the_bands_are_the_channels() -> None:
    plain = ChannelRecipe.of(task())
    image = scene()
    assert (plain.is_plain, plain.channels, plain.radius_px, plain.texture) == (True, BANDS, 0, None)
    assert plain.compute(image) is image
    reordered = ChannelRecipe.of(task(channels=("red", "blue")))
    assert not reordered.is_plain
    assert np.array_equal(reordered.compute(image), image[[2, 0]], equal_nan=True)


def test_a_recipe_follows_the_task_and_can_be_compared_and_sent() -> None:
    recipe = ChannelRecipe.of(task(channels=CHANNELS, texture=TEXTURE.model_dump()))
    assert recipe == RECIPE == pickle.loads(pickle.dumps(RECIPE))
    assert len({recipe, RECIPE}) == 1
    assert RECIPE.radius_px == 2
    assert RECIPE.indices == ("NDVI", "NDWI")
    indices = ChannelRecipe.named(BANDS, ("NDVI",), TEXTURE, 10000.0)
    assert (indices.texture, indices.radius_px) == (None, 0)


def test_any_tiling_gives_the_same_bits() -> None:
    image = scene(1)
    whole = RECIPE.compute(image)
    for side in (8, 13, 40):
        for top in range(0, 40, side):
            for left in range(0, 50, side):
                rows, cols = slice(max(0, top - 2), top + side + 2), slice(max(0, left - 2), left + side + 2)
                part = RECIPE.compute(image[:, rows, cols])[:, top - rows.start:, left - cols.start:][:, :side, :side]
                assert np.array_equal(part, whole[:, top:top + side, left:left + side], equal_nan=True)


def test_held_out_ground_has_no_say() -> None:
    image = scene(2)
    train_alone = RECIPE.compute(image[:, :, :30])
    seen = []
    for garbage in (3, 4):
        held_out = image.copy()
        held_out[:, :, 30:] = scene(garbage)[:, :, 30:] * 7
        held_out[:, :, 30:] = np.nan  # as patches give it
        seen.append(RECIPE.compute(held_out)[:, :, :30])
    assert np.array_equal(seen[0], seen[1], equal_nan=True)
    assert np.array_equal(seen[0], train_alone, equal_nan=True)
    leaky = RECIPE.compute(image)[:, :, :30]  # where it is not hidden, texture does reach over
    assert not np.array_equal(leaky, train_alone, equal_nan=True)


def test_an_invalid_pixel_is_invalid_in_every_channel() -> None:
    channels = RECIPE.compute(scene())
    assert np.isnan(channels[:, 7:9, 11:14]).all()
    assert not np.isnan(channels[:, 20:]).any()


def test_an_index_that_is_undefined_is_nan_there_alone() -> None:
    image = scene()
    image[2:4, 20, 20] = 0
    channels = dict(zip(CHANNELS, RECIPE.compute(image), strict=True))
    assert np.isnan(channels["NDVI"][20, 20])
    assert channels["nir"][20, 20] == 0


@pytest.mark.parametrize(("channels", "error", "said"), [
    (("NVDI",), ParamsError, "got 'NVDI'; did you mean NDVI"),
    (("redd",), ParamsError, r"must be a band of \['blue', .*got 'redd'; did you mean red\?"),
    (("glcm_contrst_red",), ParamsError, r"did you mean glcm_contrast_red\?"),
    (("glcm_contrast_swir1",), ParamsError, r"of one of task\.bands .*: got 'swir1'; add that band"),
    (("zzzzzzzz",), ParamsError, r"see docs/channels\.md"),
    (("red", "NDVI", "red"), ParamsError, r"\['red'\] occur twice"),
    (("MNDWI",), SceneError, "MNDWI needs a band named swir1"),
    (("kNDVI",), ParamsError, "must need only bands and constants"),
])
def test_names_that_cannot_be(channels: tuple[str, ...], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        ChannelRecipe.named(BANDS, channels, TEXTURE, 10000.0)


def test_what_does_not_fit_together() -> None:
    with pytest.raises(ParamsError, match=r"must have texture parameters: got none; set task\.texture"):
        ChannelRecipe.named(BANDS, ("glcm_energy_red",), None, 10000.0)
    with pytest.raises(ValueError, match="must have the bands"):
        RECIPE.compute(np.zeros((4, 8, 8), dtype=np.float32))
