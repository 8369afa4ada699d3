"""Whether a store keeps the promise of create-only puts: asked once, by one or two puts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from lakerunner.errors import (
    ConfigurationError,
    ObjectDeniedError,
    ObjectExistsError,
    StoreUnavailableError,
)
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from lakerunner.store.base import ObjectStore

PROBE_KEY: Final = "_lakerunner/conditional-puts"
"""An object that says nothing. It stays, so that later processes need one request only."""

_FAILURES = 3
_LOCK = threading.Lock()
_KEPT: set[tuple[str, int]] = set()


def check_conditional_puts(store: ObjectStore) -> None:
    """Make sure that a create-only put never replaces an object, before anything relies on it.

    Some services take the condition and ignore it, and lose commits without a word. The answer is
    remembered for the life of the process, by URL and options. It takes one put where anybody has
    asked before, else two. A store that may only be read needs no answer: do not ask.

    Raises:
        ConfigurationError: The service replaces objects all the same, or refuses the condition.
        ObjectDeniedError: The credentials do not allow to write.
        StoreUnavailableError: There was no answer; it can be asked again.

    Example:
        >>> from lakerunner.store import open_store
        >>> check_conditional_puts(open_store("memory://probe"))
    """
    # Of whom as well as of what: other credentials may not be allowed to write.
    identity = (store.url, hash(repr(sorted(store.storage_options.items()))))
    with _LOCK:
        if identity in _KEPT:
            return
    try:
        _put_twice(store)
    except ObjectExistsError:
        with _LOCK:
            _KEPT.add(identity)
        return
    except (ObjectDeniedError, StoreUnavailableError):
        raise
    except OSError as error:
        raise ConfigurationError(f"{store.url} takes no create-only puts: {error}") from error
    raise ConfigurationError(
        f"{store.url} takes create-only puts and replaces objects all the same (If-None-Match is "
        "ignored). A catalog in such a bucket would lose commits: name one with "
        "catalog='postgresql://…' or 'sqlite:///…'",
        url=store.url,
    )


def _put_twice(store: ObjectStore) -> None:
    """Put until there is a refusal, or until two puts succeeded: one may follow one that failed.

    Raises:
        ObjectExistsError: The promise is kept. A put whose reply was lost tells it as well.
        StoreUnavailableError: The last of `_FAILURES` failures.
    """
    failures = successes = 0
    while successes <= 1:
        try:
            store.put(PROBE_KEY, b"", PutMode.CREATE)
        except StoreUnavailableError:
            failures += 1
            if failures == _FAILURES:
                raise
        else:
            successes += 1
