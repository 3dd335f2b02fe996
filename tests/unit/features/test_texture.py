"""Texture equals scikit-image where windows are full, the definitions where not, and does not feel tile borders."""

import math

import numba
import numpy as np
import pytest
from skimage.feature import graycomatrix, graycoprops

from pipeline.features import texture as module
from pipeline.features.texture import texture
from pipeline.params.task import TEXTURE_PROPERTIES, TextureParams

ANGLES = [0, math.pi / 4, math.pi / 2, 3 * math.pi / 4]


def smooth(shape, seed=0):
    """Reflectance with neighbours alike, a little below and above the bounds 0 and 0.5."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((shape[0] // 3 + 2, shape[1] // 3 + 2)).repeat(3, 0).repeat(3, 1)[:shape[0], :shape[1]]
    return (0.55 * coarse + 0.08 * rng.random(shape) - 0.03).astype(np.float32)


def levels_of(image, params):
    steps = np.floor((image.astype(np.float64) - params.low) * (params.levels / (params.high - params.low)))
    return np.clip(steps, 0, params.levels - 1)


def by_skimage(image, row, col, params):
    radius = params.window_px // 2
    window = levels_of(image, params).astype(np.uint8)[row - radius:row + radius + 1, col - radius:col + radius + 1]
    matrix = graycomatrix(window, [params.distance_px], ANGLES, params.levels, symmetric=True, normed=True)
    return {name: graycoprops(matrix, name).mean() for name in TEXTURE_PROPERTIES}


def by_hand(image, row, col, params):
    """From the definitions, pair by pair, for windows with holes or at an edge; distance 1."""
    radius, (height, width) = params.window_px // 2, image.shape
    if np.isnan(image[row, col]):
        return dict.fromkeys(TEXTURE_PROPERTIES, math.nan)
    level = levels_of(image, params)
    rows, cols = (range(max(0, c - radius), min(n, c + radius + 1)) for c, n in ((row, height), (col, width)))
    found = []
    for down, right in ((0, 1), (1, 1), (1, 0), (1, -1)):
        matrix = np.zeros((params.levels, params.levels))
        for r in rows:
            for c in cols:
                if r + down in rows and c + right in cols and not np.isnan(image[r, c] + image[r + down, c + right]):
                    i, j = int(level[r, c]), int(level[r + down, c + right])
                    matrix[i, j] += 1
                    matrix[j, i] += 1
        if matrix.sum():
            found.append(_properties(matrix / matrix.sum()))
    return {name: np.mean([f[name] for f in found]) if found else math.nan for name in TEXTURE_PROPERTIES}


def _properties(p):
    i, j = np.indices(p.shape)
    mean = (i * p).sum()
    variance = ((i - mean) ** 2 * p).sum()
    some = p[p > 0]
    return {"contrast": ((i - j) ** 2 * p).sum(), "homogeneity": (p / (1 + (i - j) ** 2)).sum(),
            "energy": math.sqrt((p**2).sum()), "entropy": -(some * np.log(some)).sum(),
            "correlation": ((i - mean) * (j - mean) * p).sum() / variance if variance > 1e-12 else 1.0}


def test_a_chessboard_by_hand() -> None:
    board = np.indices((3, 3)).sum(axis=0) % 2 * 0.5 + 0.1
    found = texture(board.astype(np.float32), TEXTURE_PROPERTIES, TextureParams(window_px=3, levels=2))
    # Along rows and columns all pairs differ, along diagonals none does; every matrix has two cells of one half.
    expected = {"contrast": 0.5, "homogeneity": 0.75, "energy": math.sqrt(0.5), "correlation": 0.0,
                "entropy": math.log(2)}
    assert {name: float(values[1, 1]) for name, values in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("params", [
    TextureParams(),
    TextureParams(window_px=3, levels=4, low=0.1, high=0.3),
    TextureParams(window_px=11, levels=16, distance_px=3),
    TextureParams(window_px=9, levels=255, distance_px=2, low=-0.1, high=0.6),
])
def test_full_windows_equal_scikit_image(params: TextureParams) -> None:
    image = smooth((40, 44))
    image[20:, 25:] = 0.2  # ground of one level: correlation is 1, entropy 0
    found = texture(image, TEXTURE_PROPERTIES, params)
    radius = params.window_px // 2
    places = np.random.default_rng(1).integers(radius, np.array(image.shape) - radius, (25, 2))
    for row, col in [*places, (30, 35)]:
        for name, value in by_skimage(image, row, col, params).items():
            assert found[name][row, col] == pytest.approx(value, rel=1e-5, abs=1e-12), (name, row, col)


def test_edges_and_holes_equal_the_definitions() -> None:
    image, params = smooth((13, 15), seed=4), TextureParams(window_px=5, levels=8)
    image[np.random.default_rng(2).random(image.shape) < 0.3] = np.nan
    image[:3, :3] = np.nan
    image[0, 0] = 0.2  # valid, with a valid neighbour nowhere near
    found = texture(image, TEXTURE_PROPERTIES, params)
    for row, col in np.ndindex(image.shape):
        for name, value in by_hand(image, row, col, params).items():
            assert found[name][row, col] == pytest.approx(value, rel=1e-6, abs=1e-12, nan_ok=True), (name, row, col)


def test_nan_where_the_pixel_is_or_no_pair_is() -> None:
    image = np.full((9, 9), np.nan, dtype=np.float32)
    image[4, 4] = image[0, 0] = image[0, 1] = 0.3
    found = texture(image, TEXTURE_PROPERTIES, TextureParams(window_px=3))
    for values in found.values():
        assert np.argwhere(~np.isnan(values)).tolist() == [[0, 0], [0, 1]]
    assert {name: float(v[0, 0]) for name, v in found.items()} == {
        "contrast": 0, "homogeneity": 1, "energy": 1, "correlation": 1, "entropy": 0}


def test_a_tile_with_its_halo_gives_the_same_bits() -> None:
    image, params = smooth((70, 83), seed=5), TextureParams(window_px=9, levels=64)
    image[30:40, 20:33] = np.nan
    whole = texture(image, TEXTURE_PROPERTIES, params)
    for top, left, side in ((0, 0, 20), (17, 31, 24), (50, 60, 30), (33, 5, 1)):
        rows, cols = (slice(max(0, start - 4), start + side + 4) for start in (top, left))
        part = texture(np.ascontiguousarray(image[rows, cols]), TEXTURE_PROPERTIES, params)
        for name in TEXTURE_PROPERTIES:
            inside = part[name][top - rows.start:, left - cols.start:][:side, :side]
            assert np.array_equal(inside, whole[name][top:top + side, left:left + side], equal_nan=True)


def test_bounds_are_fixed_and_clip() -> None:
    params = TextureParams(window_px=3, levels=5, low=0.0, high=0.5)
    wide = np.array([[-3.0, 0.05, 0.25, 0.55, 9.0]], dtype=np.float32).repeat(3, 0)
    clipped = np.array([[0.0, 0.09, 0.21, 0.41, 0.5]], dtype=np.float32).repeat(3, 0)
    one, two = (texture(image, ("contrast",), params)["contrast"] for image in (wide, clipped))
    assert np.array_equal(one, two)
    assert one[1, 1] == pytest.approx(np.mean([2.0, 2.0, 0.0, 2.0]))  # levels 0 0 2: steps 0 and 2, a third angle none


def test_each_property_alone_is_as_among_all() -> None:
    image, params = smooth((20, 21), seed=6), TextureParams()
    among = texture(image, TEXTURE_PROPERTIES, params)
    for name in TEXTURE_PROPERTIES:
        assert np.array_equal(texture(image, (name,), params)[name], among[name])
    with pytest.raises(ValueError, match="got \\['contrasst'\\]"):
        texture(image, ("contrasst",), params)


def test_turns_and_flips_commute_with_texture() -> None:
    image, params = smooth((24, 24), seed=7), TextureParams()
    plain = texture(image, ("entropy", "contrast"), params)
    turned = texture(np.ascontiguousarray(np.rot90(image)), ("entropy", "contrast"), params)
    for name, values in plain.items():
        np.testing.assert_allclose(np.rot90(values), turned[name], rtol=1e-6)


def test_nowhere_to_keep_compiled_code_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = numba.njit

    def refuse_cache(*given, cache=False, **more):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return plain(*given, **more)

    monkeypatch.setattr(module.numba, "njit", refuse_cache)

    def add(a, b):
        return a + b

    assert module._compiled(add)(2, 3) == 5
