"""The errors a user can cause, and how a command answers them: one clear line and their exit status.

Every message names the subject, the rule, the actual value and the remedy. Imports nothing of the project.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class KumulusError(Exception):
    """Something the user can mend; its message is one complete sentence for them."""

    #: What a command that ends with it returns to the shell.
    exit_status = 1


class ParamsError(KumulusError):
    """params.yaml, a recipe or a command-line option is not acceptable."""


class SceneError(KumulusError):
    """A scene (or its grid, bands, values) cannot be used as asked."""


class LabelError(KumulusError):
    """Vector or raster labels cannot be used as asked."""


class SplitError(KumulusError):
    """No split satisfies the declared rules."""


class ModelError(KumulusError):
    """A model, checkpoint or export cannot be used as asked."""


class IntegrityError(KumulusError):
    """A finished result does not agree with what it must reproduce."""


class NotKumulusError(KumulusError):
    """A file, model or run carries nothing that Kumulus writes, and no statement names it."""

    exit_status = 5


class NotHereError(KumulusError):
    """What is asked about is not at hand: the place that would tell does not answer."""

    exit_status = 3


class SealError(KumulusError):
    """The test part was asked for without an unsealing, or its log cannot be kept."""


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """Turn a KumulusError into one line on standard error and its exit status; let real bugs show their traceback."""
    try:
        yield
    except KumulusError as error:
        print(f"{command}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from error
