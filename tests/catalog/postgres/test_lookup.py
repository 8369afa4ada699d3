"""Texts in an index: short enough for PostgreSQL, and never taken for one another."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from lakerunner.catalog.postgres import PostgresCatalog
from lakerunner.catalog.postgres.ledger import fold
from lakerunner.model.commit import Commit
from lakerunner.model.segment import Source, SourceState
from lakerunner.testing.strategies import TEXT
from lakerunner.testing.values import ORGANIZATION, make_commit, make_rejection

LONG = st.builds(lambda text, times: text * times, TEXT, st.integers(1, 400))


@given(LONG, LONG)
def test_folded_texts_differ_as_the_texts_do(one: str, other: str) -> None:
    assert (fold(one) == fold(other)) == (one == other)
    assert len(fold(one).encode()) < 900
    assert "\0" not in fold(one)


def test_any_source_can_be_kept(url: str) -> None:
    keys = ["", "/" * 4000, "/" * 4001, "é\U0001f600" * 900, "nul\0", "nul", "quote'\\\"%s{}"]
    sources = [Source("s3://raw", key, etag) for key in keys for etag in ("", "\0", "e" * 3000)]
    reasons = tuple(make_rejection(source, "why\0 " * 999) for source in sources[1::2])
    with PostgresCatalog(url) as catalog:
        catalog.commit(make_commit("c1", take=sources[::2]))
        catalog.commit(Commit("c2", ORGANIZATION, 0, rejected=reasons))
        states = catalog.sources(sources)
        assert [states[source] for source in sources] == [
            SourceState.REJECTED if number % 2 else SourceState.TAKEN
            for number in range(len(sources))
        ]
        assert sorted(entry.source for entry in catalog.rejections(ORGANIZATION)) == sorted(
            sources[1::2]
        )
        assert all(entry.reason == "why\0 " * 999 for entry in catalog.rejections(ORGANIZATION))
