"""Starting from another training's weights: pinned by digest, bands and classes by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.digests import canonical_sha256, file_sha256, folder_sha256
from pipeline.errors import ModelError
from pipeline.networks.members import save_member
from pipeline.networks.segmenter import Segmenter, build
from pipeline.networks.spec import Ancestor, ModelSpec
from pipeline.params.network import NetworkParams
from pipeline.params.task import TextureParams
from pipeline.params.train import TrainParams
from pipeline.paths import Paths
from pipeline.seeding import seed_everything
from pipeline.training.matching import matched
from pipeline.training.plan import Member
from pipeline.training.resume import ResumeStore
from pipeline.training.start import begin
from pipeline.training.warm_start import Start, open_starts, record, specs_sha256, tags

NETWORK = {"encoder": "resnet18", "encoder_depth": 3, "decoder_channels": (16, 8, 8)}
STEM, HEAD = "body.encoder.conv1.weight", "body.segmentation_head.0"


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    yield
    torch.use_deterministic_algorithms(False)


def spec_of(bands: tuple[str, ...] = ("red", "nir"), classes: tuple[str, ...] = ("a", "b", "c"),
            **changes: Any) -> ModelSpec:
    n = len(changes.get("channels", bands))
    return ModelSpec.model_validate({
        "network": NetworkParams.model_validate(NETWORK), "bands": bands, "channels": bands, "classes": classes,
        "colors": ("#000000",) * len(classes), "background": "", "reflectance_scale": 10000, "mean": (1.0,) * n,
        "std": (2.0,) * n, "low": (0.0,) * n, "high": (9.0,) * n, "band_low": (0.0,) * len(bands),
        "band_high": (9.0,) * len(bands), "patch_size_px": 32, "size_multiple": 8, "pixel_size_m": 10,
        "split": "0" * 64, "val_fold": 0, **changes})


def member(folder: Path, spec: ModelSpec, seed: int = 1) -> Segmenter:
    seed_everything(seed)
    segmenter = build(spec)
    save_member(folder, segmenter, "epoch\n1\n")
    return segmenter


def start_of(folder: Path) -> Start:
    weights, spec = (file_sha256(folder / name) for name in ("weights.safetensors", "model.json"))
    return Start(folder, (Ancestor(sha256=weights, spec_sha256=spec, split="elsewhere", val_fold=3),))


def test_the_same_network_takes_over_all_but_its_statistics(tmp_path: Path) -> None:
    source = member(tmp_path, spec_of()).state_dict()
    taken = matched(start_of(tmp_path), spec_of(mean=(5.0, 5.0)), 9)
    assert set(taken) == {name for name in source if not name.startswith("normalizer.")}
    assert all(torch.equal(taken[name], source[name]) for name in taken)
    seed_everything(9)
    begun = begin(spec_of(mean=(5.0, 5.0)), TrainParams(), taken)
    assert begun.normalizer.mean.flatten().tolist() == [5.0, 5.0]


def test_bands_and_classes_are_matched_by_name(tmp_path: Path) -> None:
    source = member(tmp_path, spec_of(("red", "nir", "blue"), ("a", "b", "c"))).state_dict()
    new = spec_of(("swir", "nir", "red"), ("c", "lake", "a"))
    seed_everything(9)
    drawn = build(new).state_dict()
    with pytest.warns(UserWarning, match=r"which is left out: 1 channel \(blue\), 1 class \(b\)$"):
        taken = matched(start_of(tmp_path), new, 9)
    assert torch.equal(taken[STEM], torch.stack([drawn[STEM][:, 0], source[STEM][:, 1], source[STEM][:, 0]], dim=1))
    for kind in ("weight", "bias"):
        rows = [source[f"{HEAD}.{kind}"][2], drawn[f"{HEAD}.{kind}"][1], source[f"{HEAD}.{kind}"][0]]
        assert torch.equal(taken[f"{HEAD}.{kind}"], torch.stack(rows))
    assert torch.equal(taken["body.encoder.layer1.0.conv1.weight"], source["body.encoder.layer1.0.conv1.weight"])


def test_an_order_of_bands_that_differs_changes_no_output(tmp_path: Path) -> None:
    source = member(tmp_path, spec_of(("red", "nir"), ("a", "b"))).eval()
    seed_everything(9)
    other = begin(spec_of(("nir", "red"), ("b", "a")), TrainParams(),
                  matched(start_of(tmp_path), spec_of(("nir", "red"), ("b", "a")), 9)).eval()
    image = torch.rand(1, 2, 32, 32)
    with torch.no_grad():
        assert torch.allclose(other(image.flip(1)), source(image).flip(1), atol=1e-5)


@pytest.mark.parametrize("network", [
    {"encoder": "efficientnet-b0"}, {"encoder": "mobilenet_v2"}, {"encoder": "tu-resnet10t"},
    {"encoder": "mit_b0"}, {"architecture": "PlainCNN", "encoder": ""},
    {"boundary_head": True, "bottleneck_attention": "cbam", "decoder_attention": "scse",
     "decoder_channels": (16, 16, 16)}])
def test_the_first_layer_is_found_whatever_the_encoder_calls_it(tmp_path: Path, network: dict[str, Any]) -> None:
    params = NetworkParams.model_validate({**NETWORK, **network})
    source = member(tmp_path, spec_of(("red", "nir"), network=params)).eval()
    swapped = spec_of(("nir", "red"), network=params)
    seed_everything(9)
    other = begin(swapped, TrainParams(), matched(start_of(tmp_path), swapped, 9)).eval()
    image = torch.rand(1, 2, 32, 32)
    with torch.no_grad():
        assert torch.allclose(other(image.flip(1)), source(image), atol=1e-4)


def test_the_generators_are_left_as_seeded(tmp_path: Path) -> None:
    member(tmp_path, spec_of())
    matched(start_of(tmp_path), spec_of(), 9)
    left = torch.rand(3)
    seed_everything(9)
    assert torch.equal(left, torch.rand(3))


def test_what_does_not_fit_is_refused_or_told(tmp_path: Path) -> None:
    member(tmp_path, spec_of())
    start = start_of(tmp_path)
    with pytest.raises(ModelError, match=r"must share a channel .* \['red', 'nir'\], the network \['swir', 'blue'\]"):
        matched(start, spec_of(("swir", "blue")), 1)
    wider = NetworkParams.model_validate({**NETWORK, "decoder_channels": (24, 8, 8)})
    with pytest.raises(ModelError, match=r"layers of the network's shapes: body\.decoder\..* and \d+ more; give train"):
        matched(start, spec_of(network=wider), 1)
    with pytest.raises(ModelError, match="must share layers with the network"):
        matched(start, spec_of(network=NetworkParams(architecture="PlainCNN", encoder="", encoder_depth=3,
                                                     decoder_channels=(16, 8, 8))), 1)
    member(tmp_path / "more", spec_of(("red", "nir", "b", "c"), network=NetworkParams.model_validate(
        {**NETWORK, "boundary_head": True})))
    with pytest.warns(UserWarning, match=r"left out: 8 layers \(boundary\.\S+, .* \.\.\.\), 2 channels \(b, c\)$"):
        matched(start_of(tmp_path / "more"), spec_of(), 1)
    attentive = NetworkParams.model_validate({**NETWORK, "bottleneck_attention": "cbam"})
    with pytest.warns(UserWarning, match=r"lacks \d of \d+ layers of the network, which start as drawn: attention"):
        taken = matched(start, spec_of(network=attentive), 1)
    assert not any(name.startswith("attention") for name in taken)
    texture = {"channels": ("red", "glcm_contrast_red"), "bands": ("red",)}
    member(tmp_path / "texture", spec_of(**texture, texture=TextureParams(window_px=5)))
    with pytest.warns(UserWarning, match="texture channels computed otherwise"):
        matched(start_of(tmp_path / "texture"), spec_of(**texture, texture=TextureParams(window_px=7)), 1)
    (tmp_path / "model.json").unlink()
    with pytest.raises(ModelError, match=r"model\.json is not there; copy the member's whole folder"):
        matched(start, spec_of(), 1)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., list[Start]]:
    def call(uri: str, sha256: str = "", count: int = 1, fetch: Any = None, plan: list[Member] | None = None,
             **train: Any) -> list[Start]:
        params = TrainParams.model_validate({"warm_start": {"uri": uri, "sha256": sha256}, **train})
        members = plan or [Member(number, 1, 0) for number in range(count)]
        return open_starts(params, members, Paths(tmp_path), ResumeStore(tmp_path / "kept", "key"), fetch)

    (tmp_path / "data/splits").mkdir(parents=True)
    (tmp_path / "data/splits/certificate.json").write_text("{}")
    return call


def checkpoint(folder: Path, count: int) -> list[str]:
    for number in range(count):
        member(folder / f"members/{number}", spec_of(), seed=number)
    return [file_sha256(folder / f"members/{number}/weights.safetensors") for number in range(count)]


def test_no_address_is_no_start(opened: Callable[..., list[Start]]) -> None:
    assert opened("") == []
    assert record(TrainParams(), []) == tags([]) == {}


def test_the_digest_is_told_and_then_holds(opened: Callable[..., list[Start]], tmp_path: Path) -> None:
    (digest,) = checkpoint(tmp_path / "old/checkpoint", 1)
    (tmp_path / "old/run.json").write_text('{"key": "k1"}')
    with pytest.raises(ModelError, match=f"it is empty, while those of old/checkpoint have {digest}; set it to that"):
        opened("old/checkpoint")
    with pytest.raises(ModelError, match=f"got {'0' * 64}, while"):
        opened("old/checkpoint", "0" * 64)
    for uri in ("old/checkpoint", "old/checkpoint/members/0", str(tmp_path / "old/checkpoint"),
                "old/checkpoint/members/0/weights.safetensors"):
        starts = opened(uri, digest, count=3)
        spec = file_sha256(tmp_path / "old/checkpoint/members/0/model.json")
        itself = Ancestor(sha256=digest, spec_sha256=spec, split="0" * 64, val_fold=0)
        assert starts == [Start(tmp_path / "old/checkpoint/members/0", (itself,), "k1")] * 3
    params = TrainParams.model_validate({"warm_start": {"uri": "old/checkpoint", "sha256": digest}})
    assert record(params, starts) == {"warm_start": {"uri": "old/checkpoint", "sha256": digest, "run_key": "k1"}}
    assert tags(starts) == {"kumulus.warm_start_sha256": digest, "kumulus.warm_start_run_key": "k1"}


def test_members_start_from_the_member_of_their_number(opened: Callable[..., list[Start]], tmp_path: Path) -> None:
    digests = checkpoint(tmp_path / "old", 3)
    assert [start.sha256 for start in opened("old", canonical_sha256(digests), count=3)] == digests
    assert [start.sha256 for start in opened("old", canonical_sha256(digests[:2]), count=2)] == digests[:2]
    assert [start.sha256 for start in opened("old", digests[0])] == digests[:1]
    assert [start.sha256 for start in opened("old/members/2", digests[2], count=4)] == [digests[2]] * 4
    with pytest.raises(ModelError, match=r"one for each of the 4 .* holds 3; name one, as in old/members/0"):
        opened("old", digests[0], count=4)


@pytest.mark.parametrize(("uri", "message"), [
    ("nowhere", "leads to .*nowhere, which is neither"),
    ("models/checkpoint", "must not lie in models/checkpoint, which DVC clears"),
    ("models/checkpoint/members/0", "must not lie in models/checkpoint"),
])
def test_places_without_a_start_are_refused(opened: Callable[..., list[Start]], uri: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        opened(uri, "0" * 64)


def test_what_is_fetched_is_kept_for_the_next_attempt(opened: Callable[..., list[Start]], tmp_path: Path) -> None:
    asked = []

    def fetch(uri: str, folder: Path, paths: Paths) -> None:
        asked.append((uri, paths))
        checkpoint(folder, 2)
        (folder / "run.json").write_text(json.dumps({"key": "k2"}))

    with pytest.raises(ModelError, match="it is empty, while those of runs:/abc have") as told:
        opened("runs:/abc", count=2, fetch=fetch)
    assert not (tmp_path / "kept/start").exists()  # a refused training never comes back to it
    digest = str(told.value).split(" have ")[1][:64]
    for _ in range(2):
        starts = opened("runs:/abc", digest, count=2, fetch=fetch)
    assert asked == [("runs:/abc", Paths(tmp_path))] * 2
    assert [start.run_key for start in starts] == ["k2", "k2"]
    assert len({start.sha256 for start in starts}) == 2


def test_params_that_contradict_each_other() -> None:
    with pytest.raises(ValueError, match=r"warm_start.sha256 must be \"\" where train.warm_start.uri is"):
        TrainParams.model_validate({"warm_start": {"sha256": "0" * 64}})
    with pytest.raises(ValueError, match="should match pattern"):
        TrainParams.model_validate({"warm_start": {"uri": "a", "sha256": "abc"}})


def test_two_starts_at_once_are_told(opened: Callable[..., list[Start]], tmp_path: Path) -> None:
    (digest,) = checkpoint(tmp_path / "old", 1)
    with pytest.warns(UserWarning, match="train.network.weights has no effect on layers"):
        opened("old", digest, network={**NETWORK, "weights": "imagenet"})


def give(folder: Path, seed: int, fold: int, split: str, **changes: Any) -> str:
    """A member's folder by its model.json alone; the weights are some bytes of its own. Their sha256."""
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(f"{seed}/{fold}".encode())
    spec = spec_of(split=split, seed=seed, val_fold=fold, **changes)
    (folder / "model.json").write_text(spec.model_dump_json())
    return file_sha256(folder / "weights.safetensors")


def pin(opened: Callable[..., list[Start]], uri: str, plan: list[Member]) -> list[Start]:
    with pytest.raises(ModelError, match="must pin") as told:
        opened(uri, plan=plan)
    return opened(uri, str(told.value).split(" have ")[1][:64], plan=plan)


def test_a_start_that_learnt_from_the_new_val_fold_is_refused(
    opened: Callable[..., list[Start]], tmp_path: Path
) -> None:
    split = folder_sha256(tmp_path / "data/splits")
    digest = give(tmp_path / "old", 1, 2, split)
    assert opened("old", digest, plan=[Member(0, 9, 2)])
    with pytest.raises(ModelError, match=r"holds out, fold 0: the start is of the same split and held out fold 2; "
                                         "start from a member that held out fold 0, from one of other data"):
        opened("old", digest, plan=[Member(0, 9, 2), Member(1, 9, 0)])
    digest = give(tmp_path / "untold", 1, -1, split)
    with pytest.raises(ModelError, match="of the same split and does not say what it held out"):
        opened("untold", digest, plan=[Member(0, 9, 0)])
    give(tmp_path / "other", 1, 2, "another split")
    assert len(pin(opened, "other", [Member(0, 9, 0), Member(1, 9, 1)])) == 2
    leaky = Start(tmp_path / "old", (Ancestor(sha256="a" * 64, spec_sha256="b" * 64, split="0" * 64, val_fold=1),))
    member(tmp_path / "real", spec_of())
    true = start_of(tmp_path / "real")
    with pytest.raises(ModelError, match="held out fold 1"):
        matched(Start(true.folder, (*true.ancestry, *leaky.ancestry)), spec_of(), 1)


def test_the_starts_of_a_start_are_judged_and_recorded_too(opened: Callable[..., list[Start]], tmp_path: Path) -> None:
    split = folder_sha256(tmp_path / "data/splits")
    first = Ancestor(sha256="f" * 64, spec_sha256="e" * 64, split=split, val_fold=1)
    digest = give(tmp_path / "old", 1, 0, "another split", warm_start=first.sha256, ancestry=(first,))
    with pytest.raises(ModelError, match=r"fold 0: an earlier start of it \(f{12}\) is of the same split and held out "
                                         "fold 1"):
        opened("old", digest, plan=[Member(0, 9, 0)])
    starts = opened("old", digest, plan=[Member(0, 9, 1)])
    assert [ancestor.sha256 for ancestor in starts[0].ancestry] == [digest, "f" * 64]
    params = TrainParams.model_validate({"warm_start": {"uri": "old", "sha256": digest}})
    assert record(params, starts)["warm_start"]["earlier"] == ["f" * 64]
    assert tags(starts)["kumulus.warm_start_earlier"] == "f" * 64
    digest = give(tmp_path / "vague", 1, 0, "another split", warm_start="d" * 64)
    with pytest.warns(UserWarning, match="goes back to weights d{12}, of which no split is recorded"):
        opened("vague", digest, plan=[Member(0, 9, 1)])


def test_members_start_from_the_one_of_their_seed_and_fold(opened: Callable[..., list[Start]], tmp_path: Path) -> None:
    split = folder_sha256(tmp_path / "data/splits")
    for number, (seed, fold) in enumerate((s, f) for s in (1, 2) for f in range(3)):
        give(tmp_path / f"old/members/{number}", seed, fold, split)

    def origins(pairs: list[tuple[int, int]], uri: str = "old") -> list[str]:
        starts = pin(opened, uri, [Member(i, *pair) for i, pair in enumerate(pairs)])
        return [(start.folder / "weights.safetensors").read_text() for start in starts]

    assert origins([(2, 1), (1, 2)]) == ["2/1", "1/2"]
    assert origins([(s, f) for s in (7, 8, 9) for f in (0, 1)]) == ["1/0", "1/1", "2/0", "2/1", "1/0", "1/1"]
    with pytest.raises(ModelError, match=r"must hold a member that held out fold 3, .* old held out folds \[0, 1, 2\]"):
        opened("old", plan=[Member(0, 7, 3)])
    for number in range(2):
        give(tmp_path / f"others/members/{number}", 1, number, "another split")
    assert origins([(7, 3), (8, 3)], "others") == ["1/0", "1/1"]


def test_the_bytes_used_are_the_bytes_pinned(tmp_path: Path) -> None:
    member(tmp_path, spec_of())
    start, text = start_of(tmp_path), (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(text.replace('"nir"', '"blue"'))
    with pytest.raises(ModelError, match=r"must stay as it is while it is used: .*model\.json had sha256"):
        matched(start, spec_of(), 1)
    (tmp_path / "model.json").write_text(text)
    member(tmp_path, spec_of(), seed=2)
    with pytest.raises(ModelError, match=r"weights\.safetensors had sha256 .* and has .* now"):
        matched(start, spec_of(), 1)


def test_another_model_json_is_another_training(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    give(tmp_path / "old/members/0", 1, 0, "")
    params = TrainParams.model_validate({"warm_start": {"uri": "old"}})
    before = specs_sha256(params, paths)
    (tmp_path / "old/members/0/model.json").write_text(spec_of(("nir", "red")).model_dump_json())
    assert specs_sha256(params, paths) not in ("", before)
    assert specs_sha256(TrainParams(), paths) == ""
    assert specs_sha256(TrainParams.model_validate({"warm_start": {"uri": "runs:/abc"}}), paths) == ""


def test_a_file_of_another_name_is_not_taken_for_the_weights(
    opened: Callable[..., list[Start]], tmp_path: Path
) -> None:
    digest = give(tmp_path / "old", 1, 0, "")
    (tmp_path / "old/other.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"must name a folder, or its weights\.safetensors: got the file "
                                         r"old/other\.safetensors"):
        opened("old/other.safetensors", digest)


def test_what_was_drawn_says_nothing_of_ancestry(tmp_path: Path) -> None:
    member(tmp_path / "drawn", spec_of())
    assert "ancestry" not in json.loads((tmp_path / "drawn/model.json").read_text())
    ancestor = Ancestor(sha256="a" * 64, split="b" * 64, val_fold=2)
    spec = spec_of(warm_start="a" * 64, ancestry=(ancestor,))
    assert ModelSpec.model_validate_json(spec.model_dump_json()).ancestry == (ancestor,)
