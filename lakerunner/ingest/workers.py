"""Who runs the batches of one call: the user's executor, threads of our own, or the caller."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakerunner.executors import InlineExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from lakerunner.model.config import Config


@contextmanager
def batch_workers(
    executor: Executor | None, config: Config, *, inline: bool = False
) -> Iterator[tuple[Executor, int]]:
    """An executor, and how many batches to hand it at a time.

    Args:
        executor: The user's; it stays open. None for `Config.workers` threads, which end with the
            context.
        config: Settings.
        inline: Run them in the calling thread all the same.

    Example:
        >>> from lakerunner.model.config import Config
        >>> with batch_workers(None, Config()) as (executor, in_flight):
        ...     in_flight
        1
    """
    if inline or (executor is None and config.workers == 1):
        yield InlineExecutor(), 1
    elif executor is not None:
        yield executor, 2 * int(getattr(executor, "_max_workers", 1))
    else:
        with ThreadPoolExecutor(config.workers, thread_name_prefix="lakerunner-ingest") as threads:
            yield threads, config.workers
