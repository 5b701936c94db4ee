"""A mistake at one place of the study file."""

from collections.abc import Sequence

from workflow.lib.errors import UserError
from workflow.lib.study import schema


class LocatedError(UserError):
    """A mistake at one place of the study file: the keys that lead to it, and what is wrong."""

    def __init__(self, keys: Sequence[str | int], message: str) -> None:
        super().__init__(f"{schema.dotted(keys)}: {message}" if keys else message)
        self.keys, self.message = list(keys), message
