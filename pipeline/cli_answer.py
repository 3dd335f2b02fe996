"""How every command of `kumulus` answers: an error the user can mend is one line and its exit status."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pipeline.errors import one_line_errors

P = ParamSpec("P")
R = TypeVar("R")


def answering_in_one_line(command: Callable[P, R]) -> Callable[P, R]:
    """Give a command the project's way of answering errors."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with one_line_errors("kumulus"):
            return command(*args, **kwargs)

    return wrapped
