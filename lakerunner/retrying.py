"""Try again what may succeed later, a bounded number of times."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from lakerunner.errors import CatalogUnavailableError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.model.config import Config

R = TypeVar("R")


def retrying(action: Callable[[], R], config: Config) -> R:
    """Call `action`, and again after a failure that may pass, `config.attempts` times in all.

    The pause begins at `config.backoff_seconds`, doubles each time, and is spread at random over
    its upper half, so that many workers that failed together do not come back together.

    Raises:
        StoreUnavailableError: The last attempt failed with it.
        CatalogUnavailableError: The last attempt failed with it.

    Example:
        >>> from lakerunner.model.config import Config
        >>> retrying(lambda: 7, Config())
        7
    """
    pause = config.backoff_seconds
    for _ in range(config.attempts - 1):
        try:
            return action()
        except (StoreUnavailableError, CatalogUnavailableError):
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret depends on it
            pause *= 2
    return action()
