"""Parts of checkpoints say together what they said apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from lakerunner.catalog.bucket import BucketCatalog, claims
from lakerunner.catalog.bucket.claims import Claim, ClaimPart, DigestIndex, Kind, split
from lakerunner.errors import CommitConflictError
from lakerunner.testing.catalog_fixture import A
from lakerunner.testing.values import make_commit, make_segment

if TYPE_CHECKING:
    from lakerunner.store import ObjectStore

# Halves of few values: many digests share one half, which true ones never do.
DIGESTS = st.builds(
    lambda high, low: high.to_bytes(8, "big") + low.to_bytes(8, "big"),
    st.sampled_from([0, 1, 2**63, 2**64 - 1]),
    st.sampled_from([0, 1, 2**63, 2**64 - 1]),
)
CLAIMS = st.dictionaries(
    DIGESTS,
    st.builds(Claim, st.sampled_from(sorted({*Kind} - {Kind.TAKEN})), st.integers(0, 2**63 - 1)),
    max_size=12,
)


@given(st.sets(DIGESTS), st.lists(DIGESTS), st.randoms())
def test_an_index_finds_what_is_there(known: set[bytes], wanted: list[bytes], rng: object) -> None:
    rows = sorted(known)
    getattr(rng, "shuffle")(rows)  # noqa: B009 - hypothesis' type for it says nothing
    index = DigestIndex(*split(rows))
    expected = [rows.index(digest) if digest in known else -1 for digest in wanted]
    assert index.find(*split(wanted)).tolist() == expected


@given(CLAIMS)
def test_claims_survive_the_file(known: dict[bytes, Claim]) -> None:
    part = ClaimPart.decode(ClaimPart.of(known).encode())
    assert len(part) == len(known)
    assert part.find(*split(list(known))) == list(known.values())
    assert part.find(*split([b"\1" * 16])) == [None]


@given(st.lists(CLAIMS, min_size=1, max_size=4), st.booleans())
def test_the_newest_claim_counts(layers: list[dict[bytes, Claim]], oldest: bool) -> None:
    merged = ClaimPart.merge(
        [ClaimPart.of(layer) for layer in layers], oldest=oldest, sequence=0, floor=0
    )
    expected: dict[bytes, Claim] = {}
    for layer in layers:
        expected |= layer
    if oldest:
        expected = {d: claim for d, claim in expected.items() if claim.kind is not Kind.PURGED}
    assert len(merged) == len(expected)
    assert merged.find(*split(list(expected))) == list(expected.values())


def test_rows_of_a_part_are_in_the_order_of_digests() -> None:
    digests = [bytes([n]) * 16 for n in (200, 3, 128)]
    part = ClaimPart.of({digest: Claim.commit(n) for n, digest in enumerate(digests)})
    high, _ = split(sorted(digests))
    assert np.array_equal(part._digests[0], high)


def test_an_old_commit_id_is_forgotten_and_its_commit_refused(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the horizon a second sending is no longer recognised, and harms nobody."""
    monkeypatch.setattr(claims, "COMMIT_IDS", 5)
    catalog = BucketCatalog(store, checkpoint_every=5)
    commits = [make_commit("c0", add=[make_segment("s0")]), make_commit("c1", take=[A])]
    for commit in commits:
        catalog.commit(commit)
    for number in range(2, 30):
        catalog.commit(make_commit(f"c{number}"))
    again = BucketCatalog(store)
    assert again.commit(make_commit("c28")) == 29
    for commit in commits:
        with pytest.raises(CommitConflictError):
            again.commit(commit)
