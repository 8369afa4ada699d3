"""Words of texts, as the token filters of segments know them: what a word is, and its hash.

A word is the longest run of letters and digits: those of ASCII, and every character from U+00C0 on
but for U+2000 to U+23FF and U+3000 to U+303F, which are punctuation and symbols. Letters of ASCII
count as their lower case, all others as they are. A word counts by its first `WORD_BYTES` bytes.

Two more things are told of words, for what is looked for inside of them: all runs of three bytes
(`grams`), and of every run of `PIECE_BYTES` bytes the piece of half that length with the smallest
hash. Where one text holds another, it has the pieces of the other: this is the idea of minimizers,
Roberts et al., Reducing storage requirements for biological sequence comparison (2004).

What is hashed here is stored in files, so it may never change.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.schema.ids import hash_text, mix64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

WORD_CLASS = r"0-9A-Za-z\x{C0}-\x{1FFF}\x{2400}-\x{2FFF}\x{3040}-\x{10FFFF}"
"""The characters of words, as a regular expression of the engine has them between brackets."""

WORD_BYTES = 64
"""Bytes by which a word counts; of two that begin alike nobody tells the difference."""

LONG_BYTES = 256
"""Of a longer word the inside is not looked at; that there is one is."""

PIECE_BYTES, GRAM_BYTES = 16, 3
_HALF = PIECE_BYTES // 2

LONG, ODD_CASE = 1, 2
"""Bits for facts: there is a word beyond `LONG_BYTES`; there is a character beyond ASCII whose
other case is a letter of ASCII, so that to look regardless of case finds more."""

_WORD = re.compile("[0-9A-Za-z\u00c0-\u1fff\u2400-\u2fff\u3040-\U0010ffff]+")
_ODD = tuple(one.encode() for one in ("\u212a", "\u017f"))  # of which k and s are other cases
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 1 << 64)
_MASK = (1 << 64) - 1
_AT_ONCE = 1 << 18  # bytes whose arrays stay in the processor's cache
_SLOTS = 1 << 16
_TO_SLOT = np.uint64(48)
_LOW_BYTES, _NO_LETTER = np.uint64((1 << 56) - 1), np.uint64(1 << 56)
"""What makes a key differ from all words of up to eight bytes: no word has a byte of 1."""
_FIRST_BYTES = np.array([(1 << (8 * count)) - 1 for count in range(_HALF)] + [_MASK], np.uint64)
_ASCII = 0x80
# First bytes of U+0080 to U+00BF, of U+2000 to U+23FF with a second one below the end, and of
# U+3000 to U+303F with the lowest second one.
_LATIN, _SYMBOLS, _SYMBOLS_END, _CJK = 0xC2, 0xE2, 0x90, 0xE3


def _counts() -> NDArray[np.uint64]:
    """What each byte counts in a hash: one more than its lower case; 0 for those between words."""
    counts = np.zeros(256, np.uint64)
    counts[ord("0") : ord("9") + 1] = np.arange(ord("0") + 1, ord("9") + 2)
    counts[ord("a") : ord("z") + 1] = np.arange(ord("a") + 1, ord("z") + 2)
    counts[ord("A") : ord("Z") + 1] = counts[ord("a") : ord("z") + 1]
    counts[_ASCII:] = np.arange(_ASCII + 1, 257)
    counts[_LATIN] = 0
    return counts


_COUNTS = _counts()
_COUNT_OF = _COUNTS.tolist()
_IN_WORD = _COUNTS > 0
_LOWER = np.where(_IN_WORD, _COUNTS - np.uint64(1), np.uint64(0)).astype(np.uint32)
_POWERS = np.cumprod(np.full(_AT_ONCE, _BASE, np.uint64)) * np.uint64(_INVERSE)
_INVERSES = np.cumprod(np.full(_AT_ONCE, _INVERSE, np.uint64)) * np.uint64(_BASE)


class Words(NamedTuple):
    """What is told of some texts; each array is in order and without repetitions.

    Attributes:
        words: uint64 hashes of words and of pieces.
        grams: uint64 hashes of runs of three bytes within words.
        facts: `LONG` and `ODD_CASE`, where they are so.
    """

    words: NDArray[np.uint64]
    grams: NDArray[np.uint64]
    facts: int = 0


def find_words(texts: pa.Array) -> Words:
    """The words of all texts of an array, and what is told of their inside.

    Args:
        texts: `pa.StringArray`; NULLs have no words.

    Example:
        >>> found = find_words(pa.array(["GET /cart took 12ms", None]))
        >>> [hash_word(word) in found.words.tolist() for word in ("get", "cart", "car", "12")]
        [True, True, False, False]
    """
    compact = pa.concat_arrays([texts.drop_null(), pa.array([], texts.type)])
    _, offsets_buffer, data_buffer = compact.buffers()
    if not len(compact) or data_buffer is None:
        return Words(np.empty(0, np.uint64), np.empty(0, np.uint64))
    offsets = np.frombuffer(offsets_buffer, np.int32)[: len(compact) + 1]
    data = np.frombuffer(data_buffer, np.uint8)[: int(offsets[-1])]
    begins = np.zeros(len(data) + 1, np.bool_)
    begins[offsets] = True
    words, grams = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    place = facts = 0
    while place < len(data):
        stop = min(place + _AT_ONCE, len(data))
        part = data[place:stop]
        starts, ends = _bounds(part, begins[place:stop])
        cut = len(part) if stop == len(data) else _cut(part, starts)
        kept = starts < cut
        found = _found(part, starts[kept], np.minimum(ends[kept], cut))
        words.append(found.words)
        grams.append(found.grams)
        facts |= found.facts
        place += cut
    return Words(distinct(np.concatenate(words)), distinct(np.concatenate(grams)), facts)


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Values in order, each once: several times as fast as `np.unique` for millions of hashes."""
    ordered = np.sort(values)
    if len(ordered) < 2:  # noqa: PLR2004 - one value repeats nothing
        return ordered
    kept: NDArray[Any] = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    return kept


def _bounds(data: NDArray[np.uint8], begins: NDArray[np.bool_]) -> tuple[Any, Any]:
    """Where words start and end; a text of its own begins where `begins` says so."""
    inside = _IN_WORD[data]
    if len(data) and int(data.max()) >= _ASCII:
        after = np.flatnonzero(data[:-1] == _LATIN) + 1
        inside[after] = False
        lead, second = data[:-2], data[1:-1]
        symbols = np.flatnonzero(
            ((lead == _SYMBOLS) & (second < _SYMBOLS_END)) | ((lead == _CJK) & (second == _ASCII))
        )
        for offset in range(3):
            inside[symbols + offset] = False
    starts = inside.copy()
    starts[1:] &= ~inside[:-1] | begins[1:]
    ends = inside.copy()
    ends[:-1] &= ~inside[1:] | begins[1:]
    return np.flatnonzero(starts), np.flatnonzero(ends) + 1


def _cut(data: NDArray[np.uint8], starts: NDArray[np.int64]) -> int:
    """Where a part that goes on ends: before its last word, or within one that never ends."""
    if len(starts) and starts[-1] > len(data) // 2:
        return int(starts[-1])
    tail = data[-4:]
    first_of_last = int(np.flatnonzero((tail & 0xC0) != _ASCII)[-1])
    return len(data) - len(tail) + first_of_last


def _found(data: NDArray[np.uint8], starts: Any, ends: Any) -> Words:
    facts = 0
    if len(data) and int(data.max()) >= _ASCII and any(one in data.tobytes() for one in _ODD):
        facts |= ODD_CASE
    new = _first_seen(data, starts, ends)
    starts, ends = starts[new], ends[new]
    if len(starts) and int((ends - starts).max()) > LONG_BYTES:
        facts |= LONG
        ends = np.minimum(ends, starts + LONG_BYTES)
    data = data[_within(starts, ends, 1)]  # these words alone, one behind the other
    ends, starts = np.cumsum(ends - starts), np.cumsum(ends - starts) - (ends - starts)
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(_COUNTS[data] * _POWERS[: len(data)], out=sums[1:])
    hashes = _hash(sums, starts, np.minimum(ends, starts + WORD_BYTES))
    windows = _within(starts, ends, PIECE_BYTES)
    pieces = np.full(len(windows), _MASK, np.uint64)
    for offset in range(_HALF + 1):
        np.minimum(pieces, _hash(sums, windows + offset, windows + offset + _HALF), out=pieces)
    runs = _within(starts, ends, GRAM_BYTES)
    lower = _LOWER[data]
    grams = lower[runs] | lower[runs + 1] << np.uint32(8) | lower[runs + 2] << np.uint32(16)
    return Words(
        np.concatenate([hashes, mix64(distinct(pieces))]),
        mix64(distinct(grams).astype(np.uint64)),
        facts,
    )


def _first_seen(data: NDArray[np.uint8], starts: Any, ends: Any) -> Any:
    """Which words to look at: most repeat others, as they are written.

    One of each is enough, and a second one does no harm. Words of up to eight bytes are told apart
    by these. Two longer ones of at most 16 bytes that agree in the first eight bytes, the last
    eight and the length are the same.
    """
    padded = np.concatenate([data, np.zeros(_HALF, np.uint8)])
    eight = np.ndarray((len(data) + 1,), "<u8", padded.data, strides=(1,))
    sizes = ends - starts
    keys = eight[starts]
    keys &= _FIRST_BYTES[np.minimum(sizes, _HALF)]
    longer = np.flatnonzero(sizes > _HALF)
    heads, tails = keys[longer], eight[ends[longer] - _HALF]
    keys[longer] = mix64(heads + mix64(tails)) & _LOW_BYTES | _NO_LETTER
    slots = (keys * np.uint64(_BASE) >> _TO_SLOT).astype(np.int64)
    numbers = np.arange(len(keys))
    last = np.zeros(_SLOTS, np.int64)
    last[slots] = numbers
    same = last[slots]
    new = (same == numbers) | (keys[same] != keys)
    other = same[longer]
    new[longer] |= (
        (sizes[longer] > PIECE_BYTES)
        | (sizes[other] != sizes[longer])
        | (eight[starts[other]] != heads)
        | (eight[np.maximum(ends[other], _HALF) - _HALF] != tails)
    )
    return new


def _hash(sums: NDArray[np.uint64], starts: Any, ends: Any) -> NDArray[np.uint64]:
    hashes: NDArray[np.uint64] = mix64((sums[ends] - sums[starts]) * _INVERSES[starts])
    return hashes


def _within(starts: Any, ends: Any, size: int) -> Any:
    """Every place within words where so many bytes of them begin."""
    counts = np.maximum(ends - starts - size + 1, 0)
    firsts = np.cumsum(counts) - counts
    return np.repeat(starts - firsts, counts) + np.arange(int(counts.sum()))


@lru_cache(maxsize=4096)
def hash_word(word: str) -> int:
    """The hash of one word, in whatever case; see `find_words`."""
    return _hash_bytes(word.encode()[:WORD_BYTES])


def _hash_bytes(data: bytes) -> int:
    total, power = 0, 1
    for byte in data:
        total += _COUNT_OF[byte] * power
        power = power * _BASE & _MASK
    return _mixed(total & _MASK)


def _mixed(value: int) -> int:
    return int(mix64(np.array([value], np.uint64))[0])


def words_in(text: str) -> list[str]:
    """The words of one text, in order.

    Example:
        >>> words_in("GET /cart?id=4711")
        ['GET', 'cart', 'id', '4711']
    """
    return _WORD.findall(text)


_BEFORE, _AFTER = f"(?:^|[^{WORD_CLASS}])(?-u:)", f"(?-u:)(?:$|[^{WORD_CLASS}])"
_BETWEEN = f"[^{WORD_CLASS}]+"


def word_pattern(phrase: str) -> str | None:
    """The regular expression of texts that have some words, one right behind the other.

    Letters of ASCII match in either case, all others as they are. It is one of a form that
    `word_in_pattern` knows again.

    Args:
        phrase: The words, with anything between them.

    Returns:
        None if there is no word in it.

    Example:
        >>> word_in_pattern(word_pattern("connection refused"))
        'connection refused'
    """
    words = words_in(phrase)
    if not words:
        return None
    return f"{_BEFORE}{_BETWEEN.join(map(_either_case, words))}{_AFTER}"


def word_in_pattern(pattern: str) -> str | None:
    """The words of an expression that `word_pattern` made; None for any other."""
    if not (pattern.startswith(_BEFORE) and pattern.endswith(_AFTER)):
        return None
    words = pattern[len(_BEFORE) : -len(_AFTER)].split(_BETWEEN)
    phrase = " ".join(word.replace("(?i-u:", "").replace(")", "") for word in words)
    return phrase if word_pattern(phrase) == pattern else None


def _either_case(word: str) -> str:
    return re.sub("[0-9A-Za-z]+", r"(?i-u:\g<0>)", word)


class Needle(NamedTuple):
    """What a text must have to hold another: all of these.

    Attributes:
        words: Hashes of words and pieces.
        grams: Hashes of runs of three bytes.
        inside: Nothing is known of these where there are words beyond `LONG_BYTES`.
        odd_case: Nothing is known of any where there are letters of odd case.
    """

    words: tuple[int, ...] = ()
    grams: tuple[int, ...] = ()
    inside: bool = False
    odd_case: bool = False

    def __bool__(self) -> bool:
        return bool(self.words or self.grams)


@lru_cache(maxsize=4096)
def needle(text: str, *, start: bool = False, end: bool = False, any_case: bool = False) -> Needle:
    """What is known of every text that holds another.

    Args:
        text: What it holds.
        start: It begins with it, or right before it is something that is in no word.
        end: It ends with it, or right after it is something that is in no word.
        any_case: It holds it in upper or lower case.

    Returns:
        Nothing where nothing can be said, as of one letter.

    Example:
        >>> needle("id=42 failed", start=True) == Needle(
        ...     (hash_word("id"), hash_word("42"), ), needle("failed").grams, inside=True)
        True
    """
    words: dict[int, None] = {}
    grams: dict[int, None] = {}
    inside = False
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair is in no text
        return Needle()
    for run, left, right in _runs(text, start=start, end=end, any_case=any_case):
        if left and right:
            words[hash_word(run)] = None
            continue
        data = bytes(_COUNT_OF[byte] - 1 for byte in run.encode())
        inside = inside or len(data) >= GRAM_BYTES
        for place in range(len(data) - GRAM_BYTES + 1):
            grams[_mixed(int.from_bytes(data[place : place + GRAM_BYTES], "little"))] = None
        for place in range(len(data) - PIECE_BYTES + 1):
            window = data[place : place + PIECE_BYTES]
            halves = (_hash_bytes(window[at : at + _HALF]) for at in range(_HALF + 1))
            words[_mixed(min(halves))] = None
    odd = any_case and not {"k", "s"}.isdisjoint(text.lower())
    return Needle(tuple(words), tuple(grams), inside, odd)


def _runs(text: str, *, start: bool, end: bool, any_case: bool) -> Iterator[tuple[str, bool, bool]]:
    """Runs of letters and digits, and whether a word certainly begins and ends there."""
    for found in _WORD.finditer(text):
        run = found.group()
        left, right = start or found.start() > 0, end or found.end() < len(text)
        if not any_case or run.isascii():
            yield run, left, right
            continue
        # Of letters beyond ASCII the other case is another letter, perhaps of another length.
        for part in re.finditer("[0-9A-Za-z]+", run):
            yield part.group(), left and part.start() == 0, right and part.end() == len(run)


def hash_values(names: NDArray[np.uint64] | str, values: pa.Array) -> NDArray[np.uint64]:
    """Hash values together with the names of their columns.

    Args:
        names: The name of all of them, or the hash of the name of each.
        values: `pa.StringArray` without NULLs.
    """
    if isinstance(names, str):
        names = hash_text(pa.array([names]))
    hashes: NDArray[np.uint64] = mix64(hash_text(values) + mix64(names))
    return hashes


@lru_cache(maxsize=4096)
def hash_value(column: str, value: str) -> int:
    """The hash of one value of one column; see `hash_values`."""
    # Half a surrogate pair is in no text; in its place stands what may be there and never matches.
    return int(hash_values(column, pa.array([value.encode("utf-8", "replace").decode()]))[0])
