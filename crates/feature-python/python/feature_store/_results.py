"""What writes and loads come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

from .errors import FeatureStoreError


class _Row(TypedDict):
    features: dict[str, Any]
    timestamp: str
    entity_key: dict[str, Any]


class FeatureRow(_Row, total=False):
    """The features of one entity.

    ``features`` has every requested name; one that is not there, that is null, or that is too old is ``None``, and
    ``statuses`` tells which. ``timestamp`` is the newest event time of the record, in ISO 8601, UTC.
    """

    statuses: dict[str, str]
    event_times: dict[str, str | None]


@dataclass(frozen=True)
class WriteReport:
    """What became of each row of a write, in order."""

    outcomes: list[bool | FeatureStoreError]
    """``True`` where something of the row is now part of the record, ``False`` where nothing of it was newer than what
    the store has, and the error of a row that failed."""

    @property
    def written(self) -> int:
        """How many rows the store has taken: applied and superseded ones."""
        return sum(isinstance(outcome, bool) for outcome in self.outcomes)

    @property
    def applied(self) -> int:
        """How many rows were applied."""
        return sum(outcome is True for outcome in self.outcomes)

    @property
    def superseded(self) -> int:
        """How many rows were older than what the store has. Not a failure: late writes are harmless."""
        return sum(outcome is False for outcome in self.outcomes)

    @property
    def failures(self) -> dict[int, FeatureStoreError]:
        """The errors, by the number of their row."""
        return {row: outcome for row, outcome in enumerate(self.outcomes) if not isinstance(outcome, bool)}


@dataclass(frozen=True)
class LoadReport:
    """What a load of a table or of files has done."""

    read: int
    """Rows that were read."""
    written: int
    """Rows that the store has taken."""
    superseded: int
    """How many of those were older than what the store had."""
    rejected: int
    """Rows that are not written."""
    entities: int | None
    """How many entities the rows concern; ``None`` when there are more than can be counted."""
    seconds: float
    """How long it took."""
    rejects: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """Of the rows that are not written the first 1,000: ``row`` (from 1), ``entity``, ``reason``, and ``file`` where
    there are several."""
