"""The errors a user can cause, and how a command answers them: one clear line and exit status 1.

Every message names the subject, the rule, the actual value and the remedy. Imports nothing of the project.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class KumulusError(Exception):
    """Something the user can mend; its message is one complete sentence for them."""


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


class SealError(KumulusError):
    """The test part was asked for without an unsealing, or its log cannot be kept."""


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """Turn a KumulusError into one line on standard error and exit status 1; let real bugs show their traceback."""
    try:
        yield
    except KumulusError as error:
        print(f"{command}: {error}", file=sys.stderr)
        raise SystemExit(1) from error
