"""What is wrong in DataFusion without our doing is right with it, and tried out where it is new."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from lakerunner.compute import Session, mended_plan
from lakerunner.compute.mended_plan import PROBES, TESTED, Probe, answer_to, check_engine, failing
from lakerunner.errors import ConfigurationError, LakerunnerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def session() -> Iterator[Session]:
    made = Session(threads=1)
    yield made
    made.close()


@pytest.mark.parametrize("probe", PROBES, ids=lambda one: one.defect)
def test_every_defect_is_one_and_is_put_right(
    session: Session, tmp_path: Path, probe: Probe
) -> None:
    """Where the first assertion fails, DataFusion has been mended, and our doing can go."""
    over = mended_plan.tables(tmp_path)
    try:
        untouched = answer_to(session, probe, over, mended=False)
    except LakerunnerError as error:
        untouched = str(error)
    assert untouched != probe.answer
    assert answer_to(session, probe, over, mended=True) == probe.answer


def test_the_installed_release_is_one_that_was_tested(session: Session, tmp_path: Path) -> None:
    assert version("datafusion") in TESTED
    check_engine(session, tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing was tried


def test_a_release_that_was_not_tested_is_tried_out(session: Session, tmp_path: Path) -> None:
    assert failing(session, tmp_path) == []
    check_engine(session, tmp_path, "98.0.0")
    assert list(tmp_path.iterdir()) != []


def test_a_release_that_is_wrong_is_refused(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Probe("two is not two", "SELECT 2 AS two", "[(3,)]")
    broken = Probe("it fails", "SELECT nothing FROM logs", "[]")
    monkeypatch.setattr(mended_plan, "PROBES", (*PROBES, other, broken))
    with pytest.raises(ConfigurationError, match=r"datafusion 99.* \(two is not two; it fails\)"):
        check_engine(session, tmp_path, "99.0.0")
