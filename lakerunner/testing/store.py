"""The conformance suite of object stores: each sentence of the contract, as a test."""

from __future__ import annotations

import pickle
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lakerunner.errors import (
    ConfigurationError,
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectRangeError,
    StoreUnavailableError,
)
from lakerunner.limits import RANGE_GAP_BYTES as GAP
from lakerunner.store.base import ByteRange, PutMode
from lakerunner.store.counting import CountingStore, Counts
from lakerunner.testing.catalog import race
from lakerunner.testing.store_fixture import (
    NO_KEYS,
    ODD_KEYS,
    PREFIXES,
    STARTS,
    TREE,
    StoreFixture,
    create,
    keys,
)
from lakerunner.testing.store_machine import StoreMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lakerunner.store.base import Buffer, ObjectMeta, ObjectStore

WRITERS = 8
HOUR_NS = 3600 * 10**9

INSIDE = [ByteRange(0, 10), ByteRange(0), ByteRange(3, 4), ByteRange(9, 10), ByteRange(9)]
INSIDE += [ByteRange(-1), ByteRange(-10), ByteRange(-4)]
OUTSIDE = [ByteRange(0, 11), ByteRange(10), ByteRange(10, 11), ByteRange(20, 30), ByteRange(-11)]
OUTSIDE += [ByteRange(3, 3), ByteRange(4, 3), ByteRange(0, 0), ByteRange(-4, -2), ByteRange(-4, 9)]

# What is asked for, and what it costs in requests and bytes.
RANGES: dict[str, tuple[Sequence[tuple[int, int]], int, int]] = {
    "nothing": ([], 0, 0),
    "one": ([(7, 9)], 1, 2),
    "near": ([(0, 4), (GAP + 4, GAP + 8)], 1, GAP + 8),
    "far": ([(0, 4), (GAP + 5, GAP + 9)], 2, 8),
    "mixed": ([(2 * GAP, 3 * GAP), (5, 9), (2, 7), (3, 4), (5, 9)], 2, GAP + 7),
}


class StoreSuite(StoreFixture):
    """Subclass it, name the subclass `Test…`, and say how to open a store and get behind its back.

    `class TestMine(StoreSuite)` needs four methods: see `StoreFixture`. The state machine tries a
    quarter as many examples as the loaded hypothesis profile says.
    """

    # -- the store ---------------------------------------------------------------------------

    def test_a_store_says_where_it_is_rooted(self, store: ObjectStore) -> None:
        """The URL has no trailing slash and is part of the representation."""
        assert "://" in store.url
        assert not store.url.endswith("/")
        assert store.url in repr(store)

    def test_a_store_can_be_pickled(self, store: ObjectStore) -> None:
        """The copy leads to the same place, also if the original was in use."""
        store.put("a", b"1")
        copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own bytes
        assert (type(copy), copy.url) == (type(store), store.url)
        assert copy.storage_options == store.storage_options
        assert copy.get("a") == store.get("a")
        meta = copy.put("b", b"2")
        assert store.head("b") == meta
        copy.close()

    def test_a_closed_store_connects_anew(self, store: ObjectStore) -> None:
        """To close twice, and to go on, is allowed."""
        store.put("a", b"1")
        store.close()
        store.close()
        assert store.get("a").data == b"1"

    def test_stores_on_one_place_see_each_other(self, store: ObjectStore, place: Path) -> None:
        """A put is visible to everybody when it returns, and so is a delete."""
        other = self.open_store(place)
        assert keys(other) == []
        meta = store.put("a/b", b"1")
        assert other.head("a/b") == meta
        assert list(other.list()) == [meta]
        other.delete("a/b")
        assert not store.exists("a/b")
        assert keys(store) == []
        other.close()

    @pytest.mark.parametrize("key", NO_KEYS, ids=ascii)
    def test_an_impossible_key_is_refused(self, store: ObjectStore, key: str) -> None:
        """No empty, `.` or `..` part may reach the service, which may give it a meaning."""
        store.put("a/b", b"1")
        for call in (store.get, store.head, store.exists, store.delete, store.local_path):
            if call != store.local_path or store.local_path("a/b"):
                with pytest.raises(ConfigurationError):
                    call(key)
        for mode in PutMode:
            with pytest.raises(ConfigurationError):
                store.put(key, b"2", mode)
        with pytest.raises(ConfigurationError):
            store.copy("a/b", key)
        assert keys(store) == ["a/b"]

    @pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
    def test_a_key_is_plain_text(self, store: ObjectStore, key: str) -> None:
        """No character is decoded, expanded or cut off; the service holds the very same key."""
        meta = store.put(key, b"ours")
        assert meta.key == key
        assert self.raw_read(store, key) == b"ours"
        assert store.get(key)[:2] == (meta, b"ours")
        assert list(store.list(key)) == list(store.list()) == [meta]
        self.raw_write(store, key, b"theirs")
        assert store.get(key, ByteRange(-2)).data == b"rs"
        store.delete(key)
        assert keys(store) == []
        with pytest.raises(FileNotFoundError):
            self.raw_read(store, key)

    # -- put and get -------------------------------------------------------------------------

    def test_all_descriptions_agree(self, store: ObjectStore) -> None:
        """What put, head, list and get say of one version is equal, and in the right units."""
        now = time.time_ns()
        meta = store.put("a/b", b"12345")
        assert (meta.key, meta.size) == ("a/b", 5)
        assert meta.etag
        assert abs(meta.modified_ns - now) < HOUR_NS
        assert store.head("a/b") == meta
        assert list(store.list()) == [meta]
        assert store.get("a/b")[:2] == (meta, b"12345")
        assert store.get("a/b", ByteRange(1, 2))[:2] == (meta, b"2")

    def test_a_put_replaces(self, store: ObjectStore) -> None:
        """Nothing of a longer predecessor is left."""
        store.put("a", b"a longer text")
        meta = store.put("a", b"short")
        assert store.get("a")[:2] == (meta, b"short")
        assert list(store.list()) == [meta]

    def test_every_version_has_its_etag(self, store: ObjectStore) -> None:
        """However quickly they follow each other, versions of equal size are told apart."""
        etags = [store.put("a", bytes([number])).etag for number in range(20)]
        if self.new_etags:
            etags += [store.put("a", b"!").etag for _ in range(20)]
            store.delete("a")
            etags.append(store.put("a", b"!").etag)
        assert len(set(etags)) == len(etags)
        self.raw_write(store, "a", b"?")
        assert store.head("a").etag not in etags

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"bytes",
            bytearray(b"array"),
            memoryview(b"0view0")[1:5],
            memoryview(array("q", [7])),
        ],
        ids=["empty", "bytes", "bytearray", "memoryview", "wide items"],
    )
    def test_a_put_takes_any_buffer(self, store: ObjectStore, data: Buffer) -> None:
        """The size is that in bytes."""
        assert store.put("a", data).size == len(bytes(data))
        assert store.get("a").data == self.raw_read(store, "a") == bytes(data)

    def test_a_put_keeps_no_reference(self, store: ObjectStore) -> None:
        """The caller may use its buffer again."""
        buffer = bytearray(b"before")
        store.put("a", buffer)
        buffer[:] = b"after, and longer"
        assert store.get("a").data == b"before"

    def test_megabytes_arrive(self, store: ObjectStore) -> None:
        """An object larger than any buffer on the way comes back whole."""
        data = bytes(range(251)) * 50_000
        assert store.put("a", data).size == len(data)
        assert store.get("a").data == data
        assert store.get("a", ByteRange(9_000_000, 9_000_500)).data == data[9_000_000:9_000_500]

    def test_create_only_never_replaces(self, store: ObjectStore) -> None:
        """Whoever wrote the object, and again once it is gone."""
        meta = store.put("a", b"1", PutMode.CREATE)
        self.raw_write(store, "b", b"theirs")
        for key, data in (("a", b"1"), ("b", b"theirs")):
            with pytest.raises(ObjectExistsError):
                store.put(key, b"2", PutMode.CREATE)
            assert store.get(key).data == data
        assert store.head("a") == meta
        store.delete("a")
        assert store.put("a", b"3", PutMode.CREATE) == store.head("a")
        store.create("c", b"4")
        with pytest.raises(ObjectExistsError):
            store.create("c", b"5")
        assert store.get("c").data == b"4"

    @pytest.mark.parametrize("shared", [True, False], ids=["one store", "a store each"])
    def test_one_of_many_creators_wins(self, place: Path, *, shared: bool) -> None:
        """Of writers that race, one is told that it wrote, and its bytes are there."""
        stores = [self.open_store(place)]
        stores += [stores[0] if shared else self.open_store(place) for _ in range(1, WRITERS)]
        for number in range(self.races):
            key = f"new {number}/a"
            outcomes = race([partial(create, store, key, n) for n, store in enumerate(stores)])
            winners = [n for n, meta in enumerate(outcomes) if meta is not None]
            assert len(winners) == 1, outcomes
            assert stores[0].get(key)[:2] == (outcomes[winners[0]], b"%d" % winners[0])
        assert len(keys(stores[0])) == self.races
        for store in stores:
            store.close()

    def test_readers_see_whole_versions_only(self, store: ObjectStore) -> None:
        """While an object is replaced, data and description belong together, and it is listed."""

        def write(first: int) -> list[ObjectMeta]:
            texts = (bytes([65 + number % 26]) * (1000 + number) for number in range(first, 60, 2))
            return [store.put("a", text) for text in texts]

        store.put("a", b"#" * 1000)
        seen = [store.get("a")]
        with ThreadPoolExecutor(2) as threads:
            writers = [threads.submit(write, first) for first in (0, 1)]
            while not all(writer.done() for writer in writers):
                with suppress(StoreUnavailableError):  # it changes quicker than it can be read
                    seen.append(store.get("a"))
                assert keys(store) == ["a"]
            written = {meta.etag: meta for writer in writers for meta in writer.result()}
        seen.append(store.get("a"))
        for meta, data, _ in seen[1:]:
            assert data == data[:1] * meta.size
            told = written.get(meta.etag, seen[0].meta)
            assert told._replace(modified_ns=meta.modified_ns) == meta
            # Of a version that is replaced at once, a store may know its time by its answer alone.
            assert abs(told.modified_ns - meta.modified_ns) < 60 * 10**9

    @pytest.mark.parametrize("byte_range", INSIDE, ids=repr)
    def test_a_range_inside(self, store: ObjectStore, byte_range: ByteRange) -> None:
        """Exactly the bytes asked for; the size told is that of the whole object."""
        data = b"0123456789"
        meta = store.put("a", data)
        start, end = byte_range.resolve(len(data))
        assert store.get("a", byte_range)[:2] == (meta, data[start:end])

    @pytest.mark.parametrize("byte_range", OUTSIDE, ids=repr)
    def test_a_range_outside(self, store: ObjectStore, byte_range: ByteRange) -> None:
        """Never a short read, and nothing for an empty or a reversed range."""
        store.put("a", b"0123456789")
        with pytest.raises(ObjectRangeError):
            store.get("a", byte_range)

    def test_an_empty_object_has_no_range(self, store: ObjectStore) -> None:
        """It can be read whole, and in no other way."""
        meta = store.put("a", b"")
        assert store.get("a")[:2] == (meta, b"")
        for byte_range in (ByteRange(0), ByteRange(0, 1), ByteRange(0, 0), ByteRange(-1)):
            with pytest.raises(ObjectRangeError):
                store.get("a", byte_range)

    @pytest.mark.parametrize("key", ["missing", "a", "a/b/c", "a/B", "a/b "])
    def test_what_is_not_there(self, store: ObjectStore, key: str) -> None:
        """Neither the start of a key nor something beneath it is an object."""
        store.put("a/b", b"1")
        calls: list[Callable[[str], object]]
        calls = [store.get, store.head, partial(store.get_ranges, ranges=[(0, 1)])]
        calls += [partial(store.get, byte_range=ByteRange(0, 1)), partial(store.copy, target="b")]
        for call in calls:
            with pytest.raises(ObjectNotFoundError):
                call(key)
        assert not store.exists(key)
        store.delete(key)
        assert keys(store) == ["a/b"]

    # -- list --------------------------------------------------------------------------------

    def test_an_empty_store_lists_nothing(self, store: ObjectStore) -> None:
        """A place where nothing was written yet is an empty store."""
        assert keys(store) == keys(store, "a") == keys(store, "a/") == []

    @pytest.mark.parametrize("prefix", PREFIXES, ids=ascii)
    def test_a_listing(self, store: ObjectStore, prefix: str) -> None:
        """A prefix is plain text; keys come in the order of their bytes, after the start."""
        for key in reversed(TREE):
            self.raw_write(store, key, key.encode())
        metas = {key: store.head(key) for key in TREE}
        ordered = [key for key in sorted(TREE, key=str.encode) if key.startswith(prefix)]
        for start in STARTS:
            expected = [metas[key] for key in ordered if key.encode() > start.encode()]
            assert list(store.list(prefix, start_after=start)) == expected

    def test_a_listing_of_many(self, store: ObjectStore) -> None:
        """Pages of a service neither lose an object nor repeat one."""
        many = [f"many/{number:04d}" for number in range(1100)]
        for key in many:
            self.raw_write(store, key, b"")
        assert keys(store, "many/") == many
        assert keys(store, "many/", start_after=many[1050]) == many[1051:]
        listing = store.list("many/")
        assert [next(listing).key, next(listing).key] == many[:2]

    def test_a_listing_follows_each_change(self, store: ObjectStore) -> None:
        """Nothing is remembered from an earlier listing."""
        for number in range(5):
            meta = store.put(f"a/{number}", b"1")
            assert list(store.list("a/"))[-1] == meta
        self.raw_write(store, "a/5", b"22")
        self.raw_delete(store, "a/0")
        assert keys(store, "a/") == ["a/1", "a/2", "a/3", "a/4", "a/5"]
        assert [meta.size for meta in store.list("a/5")] == [2]
        assert not store.exists("a/0")

    # -- delete and what is derived ----------------------------------------------------------

    def test_a_delete_removes(self, store: ObjectStore) -> None:
        """To remove what is gone succeeds, and its neighbours stay."""
        store.put("a/b", b"1")
        store.put("a/bc", b"2")
        for _ in range(2):
            store.delete("a/b")
            assert keys(store) == ["a/bc"]
            with pytest.raises(ObjectNotFoundError):
                store.get("a/b")

    def test_many_are_removed_in_order(self, store: ObjectStore) -> None:
        """One after the other, up to the first that cannot be removed."""
        for key in "abcd":
            store.put(key, b"")
        store.delete_many(["a", "missing", "b"])
        assert keys(store) == ["c", "d"]
        with pytest.raises(ConfigurationError):
            store.delete_many(iter(["c", "../a", "d"]))
        assert keys(store) == ["d"]

    @pytest.mark.parametrize("name", RANGES)
    def test_ranges_that_lie_close_are_joined(self, store: ObjectStore, name: str) -> None:
        """Parts come in the order asked for, at exactly this many requests and bytes."""
        ranges, requests, size = RANGES[name]
        data = bytes(range(251)) * (4 * GAP // 251)
        store.put("a", data)
        counting = CountingStore(store)
        parts = [data[start:end] for start, end in ranges]
        assert list(counting.get_ranges("a", ranges)) == parts
        assert counting.counts == Counts(get=requests, bytes_read=size)
        assert list(store.get_ranges("a", ranges)) == parts

    @pytest.mark.parametrize("span", [(0, 0), (3, 2), (-2, 4), (8, 11), (10, 12)])
    def test_ranges_outside(self, store: ObjectStore, span: tuple[int, int]) -> None:
        """One wrong range fails them all."""
        store.put("a", b"0123456789")
        with pytest.raises(ObjectRangeError):
            store.get_ranges("a", [(0, 2), span])

    def test_a_copy(self, store: ObjectStore) -> None:
        """It has the bytes of its source, a description of its own, and the modes of a put."""
        source = store.put("a", b"1")
        meta = store.copy("a", "b/c")
        assert store.get("b/c")[:2] == (meta, b"1")
        assert store.head("a") == source
        store.put("a", b"22")
        with pytest.raises(ObjectExistsError):
            store.copy("a", "b/c", PutMode.CREATE)
        assert store.get("b/c")[:2] == (meta, b"1")
        assert store.copy("a", "b/c").size == 2
        assert store.copy("a", "new", PutMode.CREATE) == store.head("new")

    def test_a_local_path_leads_to_the_bytes(self, store: ObjectStore) -> None:
        """Where there is one, other programs may read the object by it."""
        store.put("a b/%2F", b"1")
        path = store.local_path("a b/%2F")
        assert path is None or path.read_bytes() == b"1"

    def test_any_history(self, place: Path) -> None:
        """Whatever is done, through the store and behind its back, it answers like a dict."""
        store = self.open_store(place)

        class Machine(StoreMachine):
            def __init__(run) -> None:  # noqa: N805 - `self` is the suite
                super().__init__(store, self.raw_write, self.raw_delete, new_etags=self.new_etags)

        examples = max(1, settings().max_examples // 8)
        run_state_machine_as_test(
            Machine, settings=settings(max_examples=examples, stateful_step_count=30)
        )
        store.close()
