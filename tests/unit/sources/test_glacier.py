"""The parts mountain images are made of, by hand-worked values."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.params.acquire import AcquireParams, SyntheticParams
from pipeline.sources.synthetic.glacier import sensor, spectra
from pipeline.sources.synthetic.glacier.domain import DOMAINS, draw_shares
from pipeline.sources.synthetic.glacier.drainage import drain
from pipeline.sources.synthetic.glacier.fields import fractal_field, refine, smooth_field
from pipeline.sources.synthetic.glacier.ice import Ice, inner, large_only
from pipeline.sources.synthetic.glacier.light import Sun, incidence, lit
from pipeline.sources.synthetic.glacier.surface import CLASSES, Surface
from pipeline.sources.synthetic.glacier.terrain import PIXEL_M, Terrain, slope_of
from pipeline.sources.synthetic.glacier.write import image_grid
from pipeline.splits.lattice import lay_lattices


def test_water_takes_the_steepest_way_and_leaves_a_pit_over_its_lowest_saddle() -> None:
    height = np.array([[9.0, 9, 9, 9, 9],
                       [9.0, 2, 5, 3, 1],  # a pit of 2 behind a saddle of 5; the outlet is at 1
                       [9.0, 9, 9, 8, 9]])
    found = drain(height, np.array([9]))
    assert found.receiver[9] == 9
    assert found.receiver[8] == 9
    assert found.receiver[7] == 8
    assert found.receiver[6] == 7, "the pit flows uphill, over the saddle"
    assert found.receiver[13] == 8, "straight down to 3 (5 a step) is steeper than aslant to 1 (7 / 1.41 a step)"
    assert sorted(np.concatenate(found.levels).tolist()) == list(range(15))
    assert found.gather(np.ones((3, 5)))[1, 4] == 15


def test_ice_ends_where_its_balance_is_used_up() -> None:
    line = np.array([[1.0, 2, 3, 4, 5]])
    balance = np.array([[-9.0, -2, -2, 1, 2]])
    flux = drain(line, np.array([0])).gather(balance, keep_positive=True)
    assert flux.tolist() == [[0, 0, 1, 3, 2]]


def test_fields_have_unit_deviation_and_change_over_their_scale() -> None:
    rng = np.random.default_rng(0)
    field = smooth_field(rng, 600, 6)
    assert abs(field.mean()) < 0.05
    assert field.std() == pytest.approx(1, abs=0.05)
    assert np.corrcoef(field[:, :-1].ravel(), field[:, 1:].ravel())[0, 1] > 0.95
    assert abs(np.corrcoef(field[:, :-40].ravel(), field[:, 40:].ravel())[0, 1]) < 0.1
    assert fractal_field(rng, 400, 20, 4).std() == pytest.approx(1, abs=0.2)


def test_refining_keeps_constants_and_ramps() -> None:
    np.testing.assert_allclose(refine(np.full((6, 6), 7.0), 4), 7.0)
    ramp = refine(np.tile(np.arange(12.0), (12, 1)), 4)
    np.testing.assert_allclose(np.diff(ramp[20], axis=0)[12:-12], 0.25, atol=1e-12)


def test_slopes_that_face_the_sun_are_brightest_and_those_turned_away_dark() -> None:
    sun = Sun(np.radians(45), np.radians(90))
    flat = incidence(np.zeros((9, 9)), sun)
    np.testing.assert_allclose(flat, np.sin(sun.elevation))
    falls_east = np.tile(-PIXEL_M * np.arange(9.0), (9, 1))
    np.testing.assert_allclose(incidence(falls_east, sun), 1.0)
    np.testing.assert_allclose(incidence(-falls_east, sun), 0.0, atol=1e-12)
    noon = Sun(np.radians(45), np.radians(180))  # from the south: ground that falls towards growing rows
    np.testing.assert_allclose(incidence(falls_east.T, noon), 1.0)


def test_a_wall_casts_a_shadow_of_its_height_over_the_tangent() -> None:
    ground = np.zeros((5, 120))
    ground[:, 100:] = 900.0  # sun from the east at 45 degrees: 900 m, 30 px
    seen = lit(ground, Sun(np.radians(45), np.radians(90)))
    assert seen[2, 100:].min() >= 0.5
    assert seen[2, 72:99].max() == 0
    assert seen[2, :66].min() >= 0.5


def test_only_large_areas_stay() -> None:
    mask = np.zeros((6, 6), dtype=bool)
    mask[0, :3] = mask[4, 4] = True
    assert large_only(mask, 3).sum() == 3


def test_shares_over_many_images_and_over_the_recipes_own() -> None:
    many = [draw_shares(5, i) for i in range(600)]
    assert np.mean([s.ice for s in many]) == pytest.approx(0.279, abs=0.003)
    assert np.mean([s.debris for s in many]) == pytest.approx(0.049, abs=0.002)
    assert np.mean([s.lake for s in many]) == pytest.approx(0.0005, abs=0.00002)
    assert np.mean([s.lake == 0 for s in many]) == pytest.approx(0.22, abs=0.02)
    assert all(0.09 < s.ice < 0.47 and s.debris < 0.46 * s.ice for s in many)
    ours = [draw_shares(42, i) for i in range(31)]
    assert 1 - np.mean([s.ice + s.lake for s in ours]) == pytest.approx(0.72, abs=0.015)
    assert np.mean([s.ice - s.debris for s in ours]) == pytest.approx(0.23, abs=0.015)
    assert np.mean([s.debris for s in ours]) == pytest.approx(0.049, abs=0.004)
    assert np.mean([s.lake for s in ours]) == pytest.approx(0.0005, abs=0.00006)


def half_ice(debris: float) -> Surface:
    """Level ground at 4000 m: rock in the west, ice (under debris of that thickness) in the east."""
    size = 256
    height, zero = np.full((size, size), 4000.0), np.zeros((size, size))
    mask = np.zeros((size, size), dtype=bool)
    mask[:, size // 2:] = True
    ice = Ice(mask, height, height + 500, zero, np.zeros((size // 4, size // 4)))
    drainage = drain(np.arange(16.0).reshape(4, 4), np.array([0]))
    terrain = Terrain(np.zeros((size // 4, size // 4)), drainage, height, zero)
    return Surface(terrain, ice, np.where(mask, debris, 0.0), (), height, zero, zero, mask.astype(np.uint8))


def heat(debris: float) -> np.ndarray:
    return sensor.temperature_of(1, 0, half_ice(debris), np.full((256, 256), 0.8), air_k=280.0)


def test_heat_is_blurred_to_100_m() -> None:
    assert pytest.approx(100) == sensor.THERMAL_SIGMA_PX * 2 * np.sqrt(2 * np.log(2)) * PIXEL_M
    across = heat(0.0).mean(axis=0)
    warm, cold = across[108:120].mean(), across[136:148].mean()
    part = (across - cold) / (warm - cold)
    fine = np.interp(np.arange(100, 156, 0.01), np.arange(256), part)
    width = (np.abs(fine - 0.1).argmin() - np.abs(fine - 0.9).argmin()) * 0.01
    assert width == pytest.approx(2.563 * 100 / 2.3548 / PIXEL_M, abs=0.4)


def test_thick_debris_is_as_warm_as_rock_thin_debris_is_not_and_ice_melts() -> None:
    bare, thin, thick = (heat(d)[:, 150:250].mean() for d in (0.0, 1.0, 5.0))
    rock = heat(0.0)[:, 10:110].mean()
    assert bare <= sensor.MELTING_K + 1e-6
    assert bare + 2 < thin < rock - 2
    assert thick == pytest.approx(rock, abs=0.8)


def test_snow_and_ice_are_bright_but_in_swir_and_water_is_dark_there() -> None:
    for snow in (spectra.FRESH_SNOW, spectra.OLD_SNOW, spectra.CLEAN_ICE):
        assert snow[:3].min() > 4 * snow[3]
    assert spectra.TURBID_WATER[3] < 0.02 < spectra.TURBID_WATER[0] - 0.1
    assert (spectra.ROCKS[:, 3] > spectra.ROCKS[:, 2]).all()


def test_each_image_is_a_block_of_its_own() -> None:
    grids = [image_grid(i, 512) for i in range(31)]
    laid = lay_lattices(grids, 15360)
    assert len({one.cluster for one in laid}) == 31
    for one in laid:
        assert one.rows.edges.tolist() == one.cols.edges.tolist() == [0, 512]
        assert one.rows.first.tolist() == one.rows.last.tolist()
    assert len({grid.bounds for grid in grids}) == 31


def test_settings_without_effect_warn_and_unknown_ones_are_refused() -> None:
    with pytest.warns(UserWarning, match="images and domain have no effect with acquire.synthetic.kind=city"):
        SyntheticParams(images=3, domain="shifted")
    assert AcquireParams().synthetic.kind == "city"
    assert SyntheticParams(kind="glacier", images=3, domain="shifted").images == 3
    with pytest.raises(ValueError, match="glacier"):
        SyntheticParams.model_validate({"kind": "ocean"})


def test_the_margin_is_cut_off_and_domains_differ_in_all_that_may_shift() -> None:
    assert inner(np.zeros((4, 640, 640))).shape == (4, 512, 512)
    target, shifted = DOMAINS["target"], DOMAINS["shifted"]
    assert target.gain < shifted.gain
    assert target.snowline_m > shifted.snowline_m
    assert target.least_lake_px < shifted.least_lake_px
    assert target.ponds
    assert not shifted.ponds
    assert target != replace(target, gain=1.1)
    assert CLASSES[0] == "background"


def test_slope_of_a_ramp() -> None:
    np.testing.assert_allclose(slope_of(np.tile(PIXEL_M * 0.5 * np.arange(5.0), (5, 1))), 0.5)
