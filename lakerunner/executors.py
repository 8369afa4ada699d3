"""Run many tasks on any `concurrent.futures.Executor`, a bounded number at a time."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


class InlineExecutor(Executor):
    """Runs each task at once, in the calling thread.

    Unlike a pool it lets an exception that is no `Exception`, such as `KeyboardInterrupt`, out of
    `submit`, as a plain call would.

    Example:
        >>> InlineExecutor().submit(max, 3, 5).result()
        5
    """

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run `fn` now and return its finished future."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - a future carries whatever went wrong
            future.set_exception(error)
        return future


def bounded_map(
    executor: Executor, function: Callable[[T], R], items: Iterable[T], *, in_flight: int
) -> Iterator[R]:
    """Apply a function to items, with at most `in_flight` of them submitted and not yet yielded.

    Items are drawn lazily, so an endless iterable is fine. Results come in order of completion.
    When a task fails, or the caller stops early, what has not begun is cancelled and what has begun
    is waited for, so that nothing runs on behind the caller's back.

    Raises:
        Exception: The first failure of a task.

    Example:
        >>> sorted(bounded_map(InlineExecutor(), abs, [-1, 2, -3], in_flight=2))
        [1, 2, 3]
    """
    waiting: set[Future[R]] = set()
    try:
        for item in items:
            waiting.add(executor.submit(function, item))
            if len(waiting) >= in_flight:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)
