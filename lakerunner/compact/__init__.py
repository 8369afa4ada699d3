"""Many small segments become few: `Compactor` merges what lies in one window.

`window` does what is to be done in one, `rewriting` makes one segment of several and swaps them,
`inputs` reads segments batch by batch, and `runs` sorts on local disk what is in another order.
"""

from __future__ import annotations

from lakerunner.compact.compactor import Compactor

__all__ = ["Compactor"]
