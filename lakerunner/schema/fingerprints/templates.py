"""The template of each text: its constant words, with `<*>` for what varies."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from lakerunner.limits import TEMPLATE_CHARS
from lakerunner.schema.fingerprints.documents import is_document, masked_documents
from lakerunner.schema.fingerprints.masking import DIGITS, VARIABLE, masked, rewrite

PLACEHOLDER = "<*>"


def templates_of(texts: Any) -> Any:
    """Write the template of each text.

    Args:
        texts: `pa.StringArray` without NULLs.

    Returns:
        `pa.StringArray` of the same length.

    Example:
        >>> import pyarrow as pa
        >>> templates_of(pa.array(['{"id": 7}', "Accepted password for ann from 10.1.2.3"]))[1]
        <pyarrow.StringScalar: 'Accepted password for <*> from <*>'>
    """
    texts = rewrite(texts, (DIGITS,))
    documents = is_document(texts)
    if pc.any(documents).as_py():
        plain = pc.replace_with_mask(texts, documents, masked_documents(texts.filter(documents)))
        rest = pc.invert(documents)
        texts = pc.replace_with_mask(plain, rest, masked(texts.filter(rest)))
    else:
        texts = masked(texts)
    short = pc.utf8_slice_codeunits(texts, 0, TEMPLATE_CHARS)
    return pc.replace_substring(short, VARIABLE, PLACEHOLDER)
