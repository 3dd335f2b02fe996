"""The recipe settlement-b7 is settlement but for its network and how a step is worked off."""

from pathlib import Path

from pipeline.params.load import parse
from pipeline.params.recipes import overlay
from pipeline.params.train import TrainParams


def test_it_changes_the_network_and_how_steps_are_made(project: Path) -> None:
    texts = {name: (project / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
             for name in ("settlement", "settlement-b7")}
    changed, _ = overlay(texts["settlement"], texts["settlement-b7"])
    before, after = parse(texts["settlement"]), parse(changed)
    assert {name for name, part in after.dump().items() if part != before.dump()[name]} == {"train"}
    train = after.section(TrainParams)
    assert (train.network.architecture, train.network.encoder) == ("Unet", "efficientnet-b7")
    assert (train.precision, train.batch_size, train.accumulation) == ("bf16-mixed", 8, 2)
    same = train.model_copy(update={name: getattr(before.section(TrainParams), name) for name in (
        "network", "optimizer", "schedule", "accumulation", "precision")})
    assert same == before.section(TrainParams)
