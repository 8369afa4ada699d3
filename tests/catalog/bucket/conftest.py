"""A bucket for each test, and a way to see what lies in it."""

from __future__ import annotations

import itertools

import pytest

from lakerunner.store import CountingStore, open_store

_NAMES = map("memory://bucket-catalog-{}".format, itertools.count())


@pytest.fixture
def store() -> CountingStore:
    """An empty bucket that counts its requests."""
    return CountingStore(open_store(next(_NAMES)))
