"""What arguments mean, for the waiting and the blocking methods alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict

if TYPE_CHECKING:
    from ._native import Include, Load

EntityKey: TypeAlias = Mapping[str, Any]
"""The join keys of an entity: names and values, which are text or integers."""
EntityKeys: TypeAlias = Sequence[EntityKey] | Mapping[str, Sequence[Any]]
"""Entities: a list of dicts, or a dict of columns such as ``{"customer_id": [1, 2]}``."""
Record: TypeAlias = tuple[EntityKey, Mapping[str, Any]] | tuple[EntityKey, Mapping[str, Any], datetime | None]
"""A row of a write: entity key, features, event time."""
Mode: TypeAlias = Literal["merge", "replace"]
Extra: TypeAlias = Literal["statuses", "event_times"]
Views: TypeAlias = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
"""Declared feature views: a YAML file, or what it would have under ``feature_views``."""
Progress: TypeAlias = Callable[[dict[str, Any]], object]
"""Called with the counts of a load: ``read``, ``written``, ``superseded``, ``rejected``, ``bytes``, ``total_bytes``."""


class LoadOptions(TypedDict, total=False):
    """How tables and files are loaded: keyword arguments of ``write_table`` and ``ingest``."""

    entity: str | Sequence[str] | None
    """The columns that make the entity key; None is the declared view's."""
    timestamp: str | datetime | None
    """The column of event times, or one event time for all rows; None is now."""
    timestamp_unit: str | None
    """The unit of event times that are numbers: ``s``, ``ms``, ``us`` or ``ns``."""
    features: Sequence[str] | None
    """The feature columns; None is the declared view's, or all other columns."""
    exclude: Sequence[str]
    """Columns that are no features."""
    ttl_seconds: float | None
    """How long the records live; None is the declared view's TTL, or for ever."""
    decimals: str
    """What decimal numbers become: ``exact`` (the default: refused where a float is not), ``float64`` or ``string``."""
    batch_size: int
    """How many rows are written at once; 5,000."""
    concurrency: int
    """How many batches are written at a time; 4."""


class ArrowStream(Protocol):
    """Anything that gives its rows as Arrow: tables of pyarrow, polars, pandas, duckdb and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


_INCLUDES: dict[frozenset[str], Include] = {
    frozenset(wanted): {"statuses": "statuses" in wanted, "event_times": "event_times" in wanted}
    for wanted in ((), ("statuses",), ("event_times",), ("statuses", "event_times"))
}
PLAIN = _INCLUDES[frozenset()]


def included(include: Collection[Extra]) -> Include:
    """What rows say besides their features."""
    if not include:
        return PLAIN
    try:
        return _INCLUDES[frozenset(include)]
    except KeyError:
        raise ValueError(f"include={include!r}: known are 'statuses' and 'event_times'") from None


def views_text(views: Views | None) -> str | None:
    """The declaration of views as YAML."""
    if views is None:
        return None
    if isinstance(views, (str, os.PathLike)):
        with open(views, encoding="utf-8") as file:
            return file.read()
    import json

    return json.dumps({"feature_views": list(views)})


def load_options(
    format: str | None,
    /,
    *,
    entity: str | Sequence[str] | None = None,
    timestamp: str | datetime | None = None,
    timestamp_unit: str | None = None,
    features: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    ttl_seconds: float | None = None,
    decimals: str = "exact",
    batch_size: int = 5000,
    concurrency: int = 4,
) -> Load:
    """What is asked of a load."""
    names = [entity] if isinstance(entity, str) else list(entity or ())
    column, now = (timestamp, None) if isinstance(timestamp, str) else (None, timestamp)
    return {
        "entity": names,
        "timestamp": column,
        "timestamp_unit": timestamp_unit,
        "features": None if features is None else list(features),
        "exclude": list(exclude),
        "ttl_seconds": ttl_seconds,
        "decimals": decimals,
        "format": format,
        "batch_size": batch_size,
        "concurrency": concurrency,
        "now": now,
    }


def as_table(table: Any, entity: str | Sequence[str] | None) -> ArrowStream | dict[str, Any]:
    """A table as a stream of Arrow, or as a dict of columns."""
    if hasattr(table, "__arrow_c_stream__") and not _is_pandas(table):
        stream: ArrowStream = table
        return stream
    from ._columns import table_of

    return table_of(table, entity)


def _is_pandas(table: Any) -> bool:
    return type(table).__module__.partition(".")[0] == "pandas"


def as_progress(progress: Progress | bool | None) -> Progress | None:
    """Who is told how far a load is; ``True`` is a bar of tqdm, where that is installed."""
    if progress is None or progress is False:
        return None
    if progress is not True:
        return progress
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    bar: Any = tqdm(unit=" rows", unit_scale=True)

    def show(counts: dict[str, Any]) -> None:
        bar.update(counts["read"] - bar.n)

    return show


def file_names(files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Files, patterns, folders and URLs as text."""
    if isinstance(files, (str, os.PathLike)):
        return [os.fspath(files)]
    return [os.fspath(file) for file in files]
