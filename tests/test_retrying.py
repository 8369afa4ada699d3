"""What may pass is tried again, by one owner, and not for ever."""

from __future__ import annotations

import pytest

from lakerunner.errors import (
    CatalogUnavailableError,
    LakerunnerError,
    ObjectNotFoundError,
    StoreUnavailableError,
)
from lakerunner.model.config import Config
from lakerunner.retrying import GIVEN_UP, retrying

CONFIG = Config(attempts=3, backoff_seconds=0.0)


class Failing:
    """An action that fails with one error after the other, and then succeeds."""

    def __init__(self, *errors: LakerunnerError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


def test_what_passes_is_tried_again() -> None:
    action = Failing(StoreUnavailableError("full"), CatalogUnavailableError("locked"))
    assert retrying(action, CONFIG) == 3


def test_the_last_failure_is_raised() -> None:
    action = Failing(*(StoreUnavailableError(str(number)) for number in range(9)))
    with pytest.raises(StoreUnavailableError, match="2"):
        retrying(action, CONFIG)
    assert action.calls == 3


@pytest.mark.parametrize(
    "error",
    [
        ObjectNotFoundError("gone"),
        StoreUnavailableError("down", **{GIVEN_UP: True}),
        CatalogUnavailableError("down", **{GIVEN_UP: True}),
    ],
)
def test_what_stays_or_was_given_up_is_not(error: LakerunnerError) -> None:
    action = Failing(error)
    with pytest.raises(type(error)):
        retrying(action, CONFIG)
    assert action.calls == 1
