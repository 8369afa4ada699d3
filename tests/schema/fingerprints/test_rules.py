"""Lines that differ only in an address-like or a quoted word are one message."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lakerunner.schema.fingerprints import log_fingerprints

ADDRESSES = [
    *("10.0.0.7", "10.0.0.7:443", "localhost", "localhost:8080", "db.example.com"),
    *("db.example.com:5432", "example.de", "Cart.Example.com", "cart.default.svc", "a.b.co.uk"),
    *("fe80::abcd", "::1", "2001:db8::1", "00:1a:2b:3c:4d:5e", "ann@example.com"),
    *("https://example.com/a/b", "example.com/a/b", "10.0.0.7:80/x"),
]
QUOTED = [
    *("'cart'", '"cart"', "`cart`", "'two words'", '"7 words"'),
    *("\u201ccart\u201d", "\u2018cart\u2019", "\xabcart\xbb", "\u201ecart\u201c"),
    "\u201cwords 7\u201d",
]


def templates(lines: list[str]) -> set[str]:
    return set(log_fingerprints(pa.array(lines)).template.to_pylist())


@pytest.mark.parametrize("line", ["connection from {} refused", "peer={} is gone", "{} is silent"])
def test_addresses(line: str) -> None:
    assert len(templates([line.format(each) for each in ADDRESSES])) == 1


@pytest.mark.parametrize(
    "line", ["queue {} is full", "queue ({}) is full", "queue:{} full", "no {}"]
)
def test_quoted_words(line: str) -> None:
    assert len(templates([line.format(each) for each in QUOTED])) == 1


def test_what_is_no_address_is_kept() -> None:
    kept = ["it's done, isn't it", "call std::add or ec::add", "see com.example.Cart", "a main.rs"]
    assert templates(kept) == set(kept)


def test_durations_and_numbers() -> None:
    assert len(templates(["took <1 sec", "took 00:01", "took 12"])) == 1
    assert len(templates(["time of LOCAL(0)", "time of #7#", "time of 10.0.0.8"])) == 1


def test_rules_that_are_passed_over_change_nothing() -> None:
    """A text gets the same template alone, where rules may be passed over, and among others."""
    lines = [*ADDRESSES, *QUOTED, "plain words", "two  blanks", "a\tb", "", "<1 sec", "k=v", "{}"]
    together = log_fingerprints(pa.array(lines)).template.to_pylist()
    alone = [log_fingerprints(pa.array([line])).template.to_pylist()[0] for line in lines]
    assert together == alone
