"""Processes that share nothing but a directory: each commit is applied once, to one of them."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

from lakerunner.catalog import open_catalog
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.errors import CommitConflictError
from lakerunner.store import open_store
from lakerunner.testing.catalog_fixture import ids
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment, make_source

if TYPE_CHECKING:
    from pathlib import Path

EACH = 20


def work(catalog: BucketCatalog, worker: int) -> list[int]:
    """Take the same objects as all others; say which were won."""
    won = []
    for number in range(EACH):
        name = f"{number}-{worker}"
        commit = make_commit(name, add=[make_segment(name)], take=[make_source(f"{number}")])
        try:
            catalog.commit(commit)
        except CommitConflictError:
            continue
        won.append(number)
    return won


def test_workers_of_several_processes(tmp_path: Path) -> None:
    catalog = BucketCatalog(open_store(tmp_path), checkpoint_every=4)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        won = list(pool.map(partial(work, catalog), range(2)))
    assert sorted(number for numbers in won for number in numbers) == list(range(EACH))
    expected = {f"{number}-{worker}" for worker, numbers in enumerate(won) for number in numbers}
    assert set(ids(catalog)) == expected
    assert catalog.snapshot(ORGANIZATION, "logs").sequence == EACH


def test_it_travels_with_its_store(tmp_path: Path) -> None:
    catalog = BucketCatalog(open_store(tmp_path), checkpoint_every=3)
    catalog.commit(make_commit("c1", add=[make_segment("a")]))
    copy = pickle.loads(pickle.dumps(catalog))  # noqa: S301 - our own bytes
    assert ids(copy) == ["a"]
    copy.commit(make_commit("c2", remove=["a"]))
    assert ids(catalog) == []


def test_it_is_opened_by_url(tmp_path: Path) -> None:
    with BucketCatalog(open_store(tmp_path)) as catalog:
        catalog.commit(make_commit("c1", add=[make_segment("a")]))
    with open_catalog(f"bucket+file://{tmp_path}") as again:
        assert ids(again) == ["a"]
        assert again.url == catalog.url == f"bucket+file://{tmp_path}"
