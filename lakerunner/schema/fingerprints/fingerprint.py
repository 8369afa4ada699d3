"""The fingerprint and the template of each log body: a pure function of that body alone.

Nothing is learned from the rows: no counts, no clusters. So the same message has the same
fingerprint after a restart, on another machine and in any order of arrival. The rules are in
`masking` and `documents`; `shapes` only spares them the bodies that must give the same answer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.schema.fingerprints.lines import counted_text
from lakerunner.schema.fingerprints.shapes import shape_keys
from lakerunner.schema.fingerprints.templates import templates_of
from lakerunner.schema.ids import hash_text


class Fingerprints(NamedTuple):
    """Two columns of the same length; both are NULL where the body is.

    Attributes:
        fingerprint: `pa.Int64Array`: the hash of the template.
        template: `pa.DictionaryArray` of text: the body with `<*>` for its variable parts.
    """

    fingerprint: Any
    template: Any


def log_fingerprints(bodies: Any) -> Fingerprints:
    """Fingerprint each log body; thread-safe.

    Two rows have one fingerprint exactly when they have one template. Fingerprints are stored, so
    what this returns for a body may not change without a new decision (docs/decisions/009).

    Args:
        bodies: `pa.StringArray`, or a `pa.DictionaryArray` of text, of which each distinct value
            is looked at once.

    Example:
        >>> found = log_fingerprints(pa.array(["took 5 ms", None, "took 31 ms"]))
        >>> found.template.to_pylist(), found.fingerprint.to_pylist()[0::2]
        (['took <*> ms', None, 'took <*> ms'], [3765912113393528424, 3765912113393528424])
    """
    if pa.types.is_dictionary(bodies.type):
        distinct = log_fingerprints(bodies.dictionary)
        return Fingerprints(*(column.take(bodies.indices) for column in distinct))
    texts = counted_text(bodies)
    shapes = pa.array(shape_keys(texts)).dictionary_encode()
    indices = np.asarray(shapes.indices)
    # Any row of a shape will do: rows of one shape differ only where the first rule masks them.
    example = np.zeros(len(shapes.dictionary), np.int64)
    example[indices] = np.arange(len(indices))
    templates = templates_of(texts.take(pa.array(example))).dictionary_encode()
    hashes = hash_text(templates.dictionary).view(np.int64)
    of_row = np.asarray(templates.indices)[indices]
    absent = None if bodies.null_count == 0 else np.asarray(bodies.is_null())
    template = pa.DictionaryArray.from_arrays(pa.array(of_row, mask=absent), templates.dictionary)
    return Fingerprints(pa.array(hashes[of_row], mask=absent), template)
