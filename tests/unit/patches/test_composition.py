"""Draw probabilities come as close to a target composition of pixels as windows allow, and reports say how close."""

import json
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize

from pipeline.errors import SplitError
from pipeline.geo import raster_io
from pipeline.params.patches import PatchParams, SamplingParams
from pipeline.patches import composition
from pipeline.patches.anchors import interface_pool
from pipeline.patches.composition import as_report, draw_shares, open_sampler, target_composition
from pipeline.patches.ground import class_counts, open_ground
from pipeline.types import Window

CLASSES = ("background", "settlement", "water")
WHOLE = Window(0, 0, 96, 128)


def grounds_of(data):
    return open_ground(data.store, data.split)


def opened(grounds, target, size=32, seed=3, name="balanced", **sampling):
    if name == "balanced":
        sampling = {"composition_of": "pixels", **sampling}
    params = PatchParams.model_validate({"size_px": size, "sampling": {"name": name, **sampling}})
    return open_sampler(grounds, params, np.asarray(target, float), seed)


def measured(grounds, sampler, draws):
    """Share of each class among the labelled pixels of windows."""
    total = np.zeros(256, int)
    for index in range(draws):
        place = sampler.place(5, index)
        total += np.bincount(grounds[place.ground].labels(place.window).ravel(), minlength=256)
    return total[:3] / total[:3].sum()


def test_a_target_that_windows_can_show_is_met_by_hand():
    """Windows of the first pool show 3 + 1 pixels, of the second 2 + 6: w1 * 3/4 + w2 * 1/4 = 0.6 needs w1 = 0.7."""
    windows = np.array([[3.0, 1.0], [2.0, 6.0]])
    shares = draw_shares(np.array([0.6, 0.4]), windows)
    # 0.7 of the pixels at 4 a window and 0.3 at 8: 0.175 to 0.0375.
    assert shares == pytest.approx([0.175 / 0.2125, 0.0375 / 0.2125], rel=1e-6)
    pixels = shares @ windows
    assert pixels / pixels.sum() == pytest.approx([0.6, 0.4])


def test_pure_windows_are_drawn_by_the_target_and_their_size():
    assert draw_shares(np.array([0.25, 0.75]), np.diag([10.0, 10.0])) == pytest.approx([0.25, 0.75])
    # The same pixels from windows three times as full.
    assert draw_shares(np.array([0.25, 0.75]), np.diag([10.0, 30.0])) == pytest.approx([0.5, 0.5])


def test_a_class_without_a_target_is_not_wanted_but_may_be_shown():
    shares = draw_shares(np.array([0.5, 0.5, 0.0]), np.array([[4.0, 0.0, 6.0], [0.0, 5.0, 5.0]]))
    assert shares.sum() == pytest.approx(1)
    assert (shares @ np.array([[4.0, 0.0, 6.0], [0.0, 5.0, 5.0]]))[:2] == pytest.approx(shares * [4, 5])


@pytest.mark.parametrize("fixed", [0.0, 0.3])
def test_what_cannot_be_met_is_as_close_as_can_be(fixed):
    """Against a general optimizer, on shares of draws themselves."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        target = rng.dirichlet([2, 2, 1, 0.5])
        windows = rng.gamma(1.0, 1.0, (4, 4)) * [100, 30, 20, 1] * rng.uniform(0.3, 1, (4, 1)) + np.eye(4)

        def divergence(free, target=target, windows=windows):
            drawn = np.append((1 - fixed) * free / free.sum(), [fixed] if fixed else []) @ windows
            return divergence_of(drawn / drawn.sum(), target)

        pools = 4 - (fixed > 0)
        best = min(minimize(divergence, start, bounds=[(1e-9, 1)] * pools, method="L-BFGS-B",
                            options={"ftol": 1e-14, "maxiter": 5000}).fun
                   for start in rng.dirichlet(np.ones(pools), 12))
        shares = draw_shares(target, windows, fixed)
        assert shares.sum() == pytest.approx(1)
        assert (shares >= 0).all()
        if fixed:
            assert shares[-1] == pytest.approx(fixed)
        drawn = shares @ windows
        assert divergence_of(drawn / drawn.sum(), target) <= best + 1e-6


def test_a_rare_class_is_not_given_up():
    """Lakes are 1 % of the pixels of windows around lakes, else background: least squares would draw none."""
    windows = np.array([[90.0, 10.0, 0.0], [40.0, 60.0, 0.0], [85.0, 14.0, 1.0]])
    shares = draw_shares(np.array([0.35, 0.5, 0.15]), windows)
    assert shares[2] > 0.15


def divergence_of(shares, target):
    return float((target * np.log(target / shares)).sum())


def test_drawn_pixels_come_nearer_to_the_target_than_if_classes_were_drawn_by_it(tiny_data):
    """Labels are in squares of 8 px, so windows of 32 px around any class show all of them."""
    grounds, target = grounds_of(tiny_data()), np.array([0.25, 0.3, 0.45])
    made, naive = (opened(grounds, target, composition_of=of) for of in ("pixels", "draws"))
    assert made.target == naive.target == dict(zip(CLASSES, target, strict=True))
    assert sum(made.draws.values()) == pytest.approx(1)
    assert list(naive.draws.values()) == pytest.approx(target)
    found, missed = (measured(grounds, m.sampler, 1500) for m in (made, naive))
    for drawn, shares in ((made, found), (naive, missed)):
        assert shares == pytest.approx(list(drawn.expected.values()), abs=0.02)
    assert naive.reachable == made.reachable == pytest.approx(made.expected)
    assert divergence_of(found, target) < 0.85 * divergence_of(missed, target)
    assert made.draws["water"] > 0.5


def test_a_target_in_reach_is_expected_exactly(tiny_data):
    grounds = grounds_of(tiny_data())
    own = class_counts(grounds, 3) / class_counts(grounds, 3).sum()
    target = own + np.array([0.02, -0.01, -0.01])
    made = opened(grounds, target)
    assert list(made.expected.values()) == pytest.approx(target, abs=1e-4)
    assert measured(grounds, made.sampler, 2500) == pytest.approx(target, abs=0.02)


@pytest.mark.parametrize("name", ["random", "balanced"])
def test_the_interface_has_the_share_it_is_given(tiny_data, name):
    grounds = grounds_of(tiny_data())
    made = opened(grounds, [0.4, 0.3, 0.3], name=name, interface=("water", "background"), interface_share=0.4,
                  jitter=0.0)
    assert made.draws["water|background"] == pytest.approx(0.4)
    # Where windows are not moved by the scene's edge, the anchor is their middle.
    labels = grounds[0].labels(WHOLE)
    touching = np.zeros(labels.shape, bool)
    pool = interface_pool(grounds, 0, 2)
    touching[tuple(np.array([pool.pixel(n)[1:] for n in range(pool.pixels)]).T)] = True
    inner = np.zeros(labels.shape, bool)
    inner[16:79, 16:111] = True
    by_class = np.array([(labels == k).sum() for k in range(3)])
    shares = made.draws["any"] * by_class / by_class.sum() if name == "random" else (
        np.array([made.draws[c] for c in CLASSES]))
    # Draws a pixel: those of its class, and of the interface.
    weight = np.where(labels < 3, (shares / by_class)[np.minimum(labels, 2)], 0) + touching * 0.4 / pool.pixels
    expected = weight[inner & touching].sum() / weight[inner].sum()
    anchors = [(w.row + 15, w.col + 15) for i in range(3000) for w in [made.sampler.place(0, i).window]]
    found = [touching[a] for a in anchors if inner[a]]
    assert len(found) > 1000
    assert np.mean(found) == pytest.approx(expected, abs=0.06)
    assert measured(grounds, made.sampler, 1500) == pytest.approx(list(made.expected.values()), abs=0.02)


def test_the_composition_of_a_grid_is_that_of_the_labels(tiny_data):
    grounds = grounds_of(tiny_data())
    own = class_counts(grounds, 3) / class_counts(grounds, 3).sum()
    made = opened(grounds, [0, 0, 0], name="grid")
    assert list(made.expected.values()) == pytest.approx(own)
    assert (made.target, made.reachable, made.draws) == ({}, {}, {})
    assert measured(grounds, made.sampler, 24) == pytest.approx(own, abs=0.1)


def redrawn(data, name, array):
    path = data.store.scenes[0].folder / f"{name}.tif"
    raster_io.write(path, array, data.store.scenes[0].grid, [name])


def sparse(data):
    """A strip of background at the top and six isolated squares of 3 px of water far below it."""
    labels = np.full((96, 128), 255, np.uint8)
    labels[:30] = 0
    for col in range(4, 124, 20):
        labels[70:73, col:col + 3] = 2
    redrawn(data, "labels", labels)
    return grounds_of(data)


@pytest.mark.parametrize("extra", [{}, {"interface": ("background", "settlement"), "interface_share": 0.0}])
def test_isolated_objects_are_expected_as_rarely_as_uniform_draws_show_them(tiny_data, extra):
    """Every labelled pixel is drawn alike, but a draw in the strip shows hundreds of its pixels, one at a square 9."""
    grounds = sparse(tiny_data())
    own = class_counts(grounds, 3) / class_counts(grounds, 3).sum()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = opened(grounds, [0, 0, 0], size=32, name="random", **extra)
    assert (made.target, made.reachable, made.draws) == ({}, {}, {})
    assert 0 < made.expected["water"] < own[2] / 5
    assert measured(grounds, made.sampler, 6000)[2] == pytest.approx(made.expected["water"], rel=0.35)


def test_pixels_are_weighed_as_the_loss_weighs_them(tiny_data):
    """Water weighs a third of the other classes, whatever draws the windows."""
    data = tiny_data()
    labels = raster_io.read(data.store.scenes[0].folder / "labels.tif")
    redrawn(data, "weight", np.where(labels == 2, 0.25, 0.75).astype(np.float32))
    grounds = grounds_of(data)
    for name in ("random", "grid", "balanced"):
        made = opened(grounds, [0.3, 0.3, 0.4], name=name)
        met = np.array(list(made.expected.values())) * [3, 3, 1]
        assert list(made.weighed.values()) == pytest.approx(met / met.sum())


def test_an_interface_follows_the_merging_of_classes(tiny_data):
    data = tiny_data()
    certificate = json.loads((data.splits / "certificate.json").read_text())
    certificate |= {"class_map": [0, 1, 1], "classes": ["background", "built"]}
    (data.splits / "certificate.json").write_text(json.dumps(certificate))
    grounds = grounds_of(data)

    def drawn(*names):
        params = PatchParams(size_px=32, sampling=SamplingParams(interface=names, interface_share=0.5))
        return open_sampler(grounds, params, np.zeros(2), 3, CLASSES)

    assert drawn("background", "water").draws == {"any": 0.5, "background|water": 0.5}
    with pytest.raises(SplitError, match="keeps apart: settlement and water are merged into one; name others"):
        drawn("settlement", "water")


def test_whole_images_that_are_partly_held_out_are_warned_of(tiny_data):
    grounds = grounds_of(tiny_data(buffer_m=100.0))
    with pytest.warns(UserWarning, match=r"image draws places in held-out .*: \d+% of the patches have no label"):
        made = opened(grounds, [0, 0, 0], size=32, name="image")
    assert measured(grounds, made.sampler, 2000) == pytest.approx(list(made.expected.values()), abs=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(grounds, [0, 0, 0], size=96, name="image")


def test_unnamed_classes_share_the_rest(tiny_data):
    grounds = grounds_of(tiny_data())

    def target(**shares):
        return target_composition(SamplingParams(name="balanced", composition=shares), CLASSES, grounds).tolist()

    assert target() == pytest.approx([1 / 3] * 3)
    assert target(water=0.5) == pytest.approx([0.25, 0.25, 0.5])
    assert target(water=0.2, settlement=0.5) == pytest.approx([0.3, 0.5, 0.2])
    assert target(water=1.0) == [0, 0, 1]
    assert target(water=0.0) == [0.5, 0.5, 0]


def without_water(data):
    path = data.store.scenes[0].folder / "labels.tif"
    labels = raster_io.read(path)
    raster_io.write(path, np.where(labels == 2, 255, labels).astype(np.uint8), data.store.scenes[0].grid, ["class"])
    return grounds_of(data)


def test_a_named_class_without_train_pixels_is_refused_and_an_unnamed_one_left_out(tiny_data):
    grounds = without_water(tiny_data())
    with pytest.raises(SplitError, match=r"class water must have labelled train pixels .* the share 0\.2: got none"):
        target_composition(SamplingParams(name="balanced", composition={"water": 0.2}), CLASSES, grounds)
    assert target_composition(SamplingParams(name="balanced"), CLASSES, grounds).tolist() == [0.5, 0.5, 0]
    assert opened(grounds, [0.5, 0.5, 0]).expected["water"] == 0
    with pytest.raises(SplitError, match=r"must leave a class with labelled train pixels: got \{'background': 0\.0"):
        target_composition(SamplingParams(name="balanced", composition={"background": 0.0, "settlement": 0.0}),
                           CLASSES, grounds)


def test_merged_classes_add_up_and_dropped_ones_are_refused(tiny_data):
    data = tiny_data()
    certificate = json.loads((data.splits / "certificate.json").read_text())
    certificate |= {"class_map": [0, 1, 1], "classes": ["background", "built"]}
    (data.splits / "certificate.json").write_text(json.dumps(certificate))
    shares = SamplingParams(name="balanced", composition={"settlement": 0.3, "water": 0.4})
    assert target_composition(shares, CLASSES, grounds_of(data)).tolist() == pytest.approx([0.3, 0.7])
    certificate |= {"class_map": [0, 1, 255]}
    (data.splits / "certificate.json").write_text(json.dumps(certificate))
    with pytest.raises(SplitError, match="class water must have labelled train pixels"):
        target_composition(shares, CLASSES, grounds_of(data))


def test_an_interface_of_classes_that_never_touch_is_refused(tiny_data):
    with pytest.raises(SplitError, match=r"that touch on the train ground: background and water do nowhere"):
        opened(without_water(tiny_data()), [0.5, 0.5, 0], interface=("background", "water"), interface_share=0.5)


def test_image_sampling_without_any_label_is_refused(tiny_data, monkeypatch):
    monkeypatch.setattr(composition, "_shown", lambda *_: composition._Shown(np.zeros(3), np.zeros(3)))
    with pytest.raises(SplitError, match="must find labelled train pixels: none in 2048 windows"):
        opened(grounds_of(tiny_data()), [0, 0, 0], name="image")


def test_reports_name_what_there_is(tiny_data):
    grounds = grounds_of(tiny_data())
    counts = dict(zip(CLASSES, (300, 100, 0), strict=True))
    report = as_report(opened(grounds, [0.4, 0.3, 0.3]), counts)
    assert list(report) == ["train", "target", "reachable", "draws", "expected"]
    assert report["train"] == {"background": 0.75, "settlement": 0.25, "water": 0.0}
    assert list(as_report(opened(grounds, [0, 0, 0], name="random"), counts)) == ["train", "expected"]
