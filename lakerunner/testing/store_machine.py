"""A state machine that does anything at all to a store, and to a dict, and compares."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lakerunner.errors import ObjectExistsError, ObjectNotFoundError, ObjectRangeError
from lakerunner.store.base import ByteRange, PutMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.store.base import ObjectStore

_RUNS = itertools.count()

# A name of a directory is never that of an object: some stores cannot have both `a` and `a/b`.
_DIRECTORIES = st.sampled_from(["", "a/", "a-b/", "a b/", "a/a/", "é/", "\U0001f600/", "%2F/"])
_NAMES = st.sampled_from(["x", "x0", "x-", "x.y", "+ =&#?%", "ü", "\ufffd", "\U0001f600x", "*"])
KEYS = st.builds("{}{}".format, _DIRECTORIES, _NAMES)
DATA = st.binary(max_size=12)
BOUNDS = st.integers(-15, 15)
PREFIXES = st.one_of(st.just(""), _DIRECTORIES, KEYS, st.sampled_from(["a", "x", "%", "*", "a/x"]))


class StoreMachine(RuleBasedStateMachine):
    """Acts on a store and on a plain dict, through the store and behind its back.

    Args:
        store: Its keys are not disturbed: each run has a prefix of its own, and removes it.
        raw_write: Writes an object behind the store's back.
        raw_delete: Removes an object behind the store's back.
        new_etags: Whether every overwrite gives a new etag, even with equal bytes.
    """

    def __init__(
        self,
        store: ObjectStore,
        raw_write: Callable[[ObjectStore, str, bytes], None],
        raw_delete: Callable[[ObjectStore, str], None],
        *,
        new_etags: bool = True,
    ) -> None:
        super().__init__()
        self.store = store
        self.raw_write = raw_write
        self.raw_delete = raw_delete
        self.new_etags = new_etags
        self.home = f"run-{next(_RUNS)}/"
        self.model: dict[str, bytes] = {}
        self.etags: dict[str, list[str]] = {}

    @rule(key=KEYS, data=DATA)
    def put(self, key: str, data: bytes) -> None:
        """An overwriting put replaces what is there."""
        meta = self.store.put(self.home + key, data)
        assert (meta.key, meta.size) == (self.home + key, len(data))
        self._remember(key, data, meta.etag)

    @rule(key=KEYS, data=DATA)
    def create(self, key: str, data: bytes) -> None:
        """A create-only put succeeds exactly if there is nothing."""
        try:
            meta = self.store.put(self.home + key, data, PutMode.CREATE)
        except ObjectExistsError:
            assert key in self.model
        else:
            assert key not in self.model
            self._remember(key, data, meta.etag)

    @rule(key=KEYS, data=DATA)
    def write_behind_its_back(self, key: str, data: bytes) -> None:
        """Others write to the bucket as well, and are seen at once."""
        self.raw_write(self.store, self.home + key, data)
        self._remember(key, data, self.store.head(self.home + key).etag)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        """To delete succeeds, whether there is something or not."""
        self.store.delete(self.home + key)
        self.model.pop(key, None)

    @rule(key=KEYS)
    def delete_behind_its_back(self, key: str) -> None:
        """Others delete from the bucket as well, and are seen at once."""
        if self.model.pop(key, None) is not None:
            self.raw_delete(self.store, self.home + key)

    @rule(source=KEYS, copy=KEYS)
    def copy(self, source: str, copy: str) -> None:
        """A copy has the bytes of its source."""
        try:
            meta = self.store.copy(self.home + source, self.home + copy)
        except ObjectNotFoundError:
            assert source not in self.model
        else:
            self._remember(copy, self.model[source], meta.etag)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        """A read gives the bytes, and the same description as `head`."""
        assert self.store.exists(self.home + key) == (key in self.model)
        if key in self.model:
            meta, data, _ = self.store.get(self.home + key)
            assert data == self.model[key]
            assert meta == self.store.head(self.home + key)
            assert meta.etag == self.etags[key][-1]

    @rule(key=KEYS, start=BOUNDS, end=st.none() | BOUNDS)
    def get_range(self, key: str, start: int, end: int | None) -> None:
        """A range gives those bytes exactly, or fails."""
        whole = self.model.get(key, b"")
        stop = len(whole) if end is None else end
        first = start + len(whole) if start < 0 else start
        inside = 0 <= first < stop <= len(whole) and not (start < 0 and end is not None)
        try:
            data = self.store.get(self.home + key, ByteRange(start, end)).data
        except ObjectNotFoundError:
            assert key not in self.model
        except ObjectRangeError:
            assert key in self.model
            assert not inside
        else:
            assert inside
            assert data == whole[first:stop]

    @rule(prefix=PREFIXES, start_after=PREFIXES)
    def list_part(self, prefix: str, start_after: str) -> None:
        """A listing holds the keys with the prefix behind the start, in the order of bytes."""
        after = self.home + start_after if start_after else ""
        found = self.store.list(self.home + prefix, start_after=after)
        wanted = [key for key in self.model if key.startswith(prefix) and key > start_after]
        wanted.sort(key=str.encode)
        assert [meta.key for meta in found] == [self.home + key for key in wanted]

    @invariant()
    def everything_is_listed(self) -> None:
        """Sizes and etags of the listing are those of the last versions."""
        found = {meta.key: (meta.size, meta.etag) for meta in self.store.list(self.home)}
        assert found == {
            self.home + key: (len(data), self.etags[key][-1]) for key, data in self.model.items()
        }

    def teardown(self) -> None:
        """Remove what is left."""
        self.store.delete_many([self.home + key for key in self.model])

    def _remember(self, key: str, data: bytes, etag: str) -> None:
        seen = self.etags.setdefault(key, [])
        if self.new_etags or self.model.get(key) != data:
            assert etag not in seen or not self.new_etags
            assert not seen or key not in self.model or etag != seen[-1]
        seen.append(etag)
        self.model[key] = data
