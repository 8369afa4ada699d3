"""Trying again what may succeed later: the one loop that does so, and who runs it.

A request is repeated by whoever sends it. A store of a service repeats its own requests, for it
alone knows which of them may be sent twice, and what it gives up is not asked for again from above:
it says so in the context of its error. What else may pass, such as a full disk, a locked catalog or
a reply that was lost, is repeated by the worker.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from lakerunner.errors import CatalogUnavailableError, StoreUnavailableError
from lakerunner.limits import ATTEMPTS, BACKOFF_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.model.config import Config

R = TypeVar("R")

GIVEN_UP = "given_up"
"""In the context of an error: its request has been repeated already, as often as that helps."""


def repeating(
    action: Callable[[], R],
    passing: Callable[[Exception], bool],
    *,
    attempts: int = ATTEMPTS,
    backoff_seconds: float = BACKOFF_SECONDS,
) -> R:
    """Call `action`, and again after a failure that may pass, so many times in all.

    The pause doubles each time, and is spread at random over its upper half, so that many workers
    that failed together do not come back together.

    Args:
        action: What to do.
        passing: Whether a failure may pass, and the action may be repeated.
        attempts: Calls in all, at least 1.
        backoff_seconds: The first pause.

    Raises:
        Exception: What the last attempt raised.

    Example:
        >>> repeating(lambda: 7, lambda error: True)
        7
    """
    pause = backoff_seconds
    for _ in range(attempts - 1):
        try:
            return action()
        except Exception as error:
            if not passing(error):
                raise
        time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret depends on it
        pause *= 2
    return action()


def retrying(action: Callable[[], R], config: Config) -> R:
    """Call `action` up to `config.attempts` times, unless whoever failed has done so already.

    Raises:
        StoreUnavailableError: The last attempt failed with it.
        CatalogUnavailableError: The last attempt failed with it.

    Example:
        >>> from lakerunner.model.config import Config
        >>> retrying(lambda: 7, Config())
        7
    """
    return repeating(
        action, _may_pass, attempts=config.attempts, backoff_seconds=config.backoff_seconds
    )


def _may_pass(error: Exception) -> bool:
    passing = StoreUnavailableError | CatalogUnavailableError
    return isinstance(error, passing) and not error.context.get(GIVEN_UP)
