"""Pandas frames and dicts of columns as streams of Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._arguments import ArrowStream


def stream_of(table: Any, entity: str | Sequence[str] | None) -> ArrowStream:
    """A stream of a pandas frame, whose index is a column where it is the entity, or of a dict of columns."""
    try:
        import pyarrow as pa
    except ImportError:
        raise ModuleNotFoundError(
            f"a table of type {type(table).__name__} is written by way of pyarrow: pip install pyarrow, or give a "
            "table that has __arrow_c_stream__, such as one of polars"
        ) from None
    if isinstance(table, Mapping):
        arrow: ArrowStream = pa.table(dict(table))
        return arrow
    if type(table).__name__ != "DataFrame":
        raise TypeError(
            f"a table of type {type(table).__name__} is not known: give a frame of pandas or polars, a table of "
            "pyarrow, anything else that has __arrow_c_stream__, or a dict of columns"
        )
    wanted = {entity} if isinstance(entity, str) else set(entity or ())
    keep_index = bool(wanted.intersection(name for name in table.index.names if name is not None))
    frame: ArrowStream = pa.Table.from_pandas(table, preserve_index=keep_index)
    return frame
