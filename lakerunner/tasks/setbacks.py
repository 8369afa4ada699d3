"""What failed, how often, and when it is tried again: small objects of the lake.

They lie in the lake and not in a process, for whoever comes next may be another machine: a task
that always fails is then tried by all of them together as rarely as by one. The only clock is the
store's, so a machine whose own clock is days off neither hurries nor waits.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from lakerunner.errors import ObjectNotFoundError
from lakerunner.fencing.identity import PREFIX
from lakerunner.limits import SETBACK_KEPT_NS, SETBACK_PAUSE_NS, SETBACK_PAUSE_NS_MOST
from lakerunner.model.report import Setback

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.store.base import ObjectStore

SETBACKS_PREFIX = f"{PREFIX}setbacks/"
_SETBACK = msgspec.json.Decoder(Setback)


def pause_ns(attempts: int) -> int:
    """Nanoseconds from a failure to the next attempt: doubling, up to some hours.

    Args:
        attempts: How often it has failed in a row, at least once.

    Example:
        >>> [pause_ns(attempts) // 10**9 for attempts in (1, 2, 3, 500)]
        [60, 120, 240, 21600]
    """
    doublings = min(attempts - 1, 32)  # beyond these the limit holds anyway
    return min(SETBACK_PAUSE_NS << doublings, SETBACK_PAUSE_NS_MOST)


def is_due(setback: Setback, now_ns: int) -> bool:
    """Whether what failed may be tried again.

    A failure that lies in the future was noted before the store's clock was set back: nobody knows
    how long ago that was, so it is tried.

    Example:
        >>> failed = Setback("compact acme/logs/…", "store", "no room", failed_ns=100, next_ns=160)
        >>> is_due(failed, 150), is_due(failed, 160), is_due(failed, 50)
        (False, True, True)
    """
    return not setback.failed_ns <= now_ns < setback.next_ns


def read_setbacks(store: ObjectStore, organization: str | None = None) -> dict[str, Setback]:
    """What failed and has not succeeded since, by the name of its task.

    One listing, and a small request for each.

    Args:
        store: The lake.
        organization: Whose tasks; None for those of all.

    Raises:
        StoreError: The lake cannot be read.
    """
    prefix = SETBACKS_PREFIX if organization is None else f"{SETBACKS_PREFIX}{organization}/"
    found: dict[str, Setback] = {}
    for meta in store.list(prefix):
        try:
            said = _SETBACK.decode(store.get(meta.key).data)
        except (ObjectNotFoundError, msgspec.MsgspecError):
            continue  # it succeeded meanwhile; or nobody can read it, and the next failure mends it
        due_ns = meta.modified_ns + pause_ns(max(said.attempts, 1))
        found[said.task] = replace(said, failed_ns=meta.modified_ns, next_ns=due_ns)
    return found


def note_setback(store: ObjectStore, organization: str, setback: Setback) -> Setback:
    """Note that a task failed; returns the same with its times, by the store's clock.

    Two who note the same task at once count as one.

    Raises:
        StoreError: It could not be put.
    """
    key = _key(organization, setback.task)
    failed_ns = store.put(key, msgspec.json.encode(setback)).modified_ns
    return replace(setback, failed_ns=failed_ns, next_ns=failed_ns + pause_ns(setback.attempts))


def forget_setback(store: ObjectStore, organization: str, task: str) -> None:
    """Note that a task that had failed is done."""
    store.delete(_key(organization, task))


def old_setbacks(store: ObjectStore, now_ns: int) -> Iterable[str]:
    """Keys of what failed so long ago that its task must be gone: nobody has tried it since."""
    for meta in store.list(SETBACKS_PREFIX):
        if meta.modified_ns < now_ns - SETBACK_KEPT_NS:
            yield meta.key


def _key(organization: str, task: str) -> str:
    # A digest: names of tasks have characters that are no good in keys.
    return f"{SETBACKS_PREFIX}{organization}/{blake2b(task.encode(), digest_size=16).hexdigest()}"
