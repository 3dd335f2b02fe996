"""In what the scored val part has helped to choose the network, in words: such scores are a little too good."""

from collections.abc import Iterable, Sequence

#: What val may have chosen (ModelSpec.val_chose) -> in words.
_WORDS = {
    "epoch": "the epoch that was kept (train.select: best)",
    "stop": "when training stopped (train.early_stop_patience)",
    "rate": "the learning rate (train.schedule: plateau)",
    "temperature": "the temperature of the probabilities (train.calibration.temperature)",
}


def together(members: Iterable[Sequence[str] | None]) -> list[str] | None:
    """What val chose of any member; None where one does not say (a model.json of before it did)."""
    found = list(members)
    if not found or any(chosen is None for chosen in found):
        return None
    return [name for name in _WORDS if any(name in (chosen or ()) for chosen in found)]


def brief(chosen: Sequence[str] | None) -> str:
    """For tables: `epoch, temperature`, `nothing`, or `not known`."""
    return "not known" if chosen is None else ", ".join(chosen) or "nothing"


def note(chosen: Sequence[str] | None) -> str:
    """For figures: a clause where there is something to say, else nothing."""
    return f"val helped to choose the {', '.join(chosen)}" if chosen else ""


def sentence(chosen: Sequence[str] | None, scored: str) -> str:
    """For the model card.

    Args:
        chosen: what val chose.
        scored: the ground that is scored, as the sentence's subject.
    """
    if chosen is None:
        return f"Whether {scored} had a say in the choice of the network is not recorded."
    if not chosen:
        return f"{scored[0].upper()}{scored[1:]} had no say in the choice of the network."
    what = ", ".join(_WORDS[name] for name in chosen)
    text = f"{scored[0].upper()}{scored[1:]} also chose {what}"
    if list(chosen) == ["temperature"]:
        return f"{text}, which changes no single member's classes."
    return f"{text}, so these scores are a little too good."
