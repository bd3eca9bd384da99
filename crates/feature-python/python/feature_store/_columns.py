"""Pandas frames and dicts of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._arguments import ArrowStream


def table_of(table: Any, entity: str | Sequence[str] | None) -> ArrowStream | dict[str, Any]:
    """A dict of columns, or a pandas frame, whose index is a column where it is the entity, as a table of pyarrow;
    where that is not installed, as a dict of columns, which is slower and has fewer types."""
    pa = _pyarrow()
    if isinstance(table, Mapping):
        columns = dict(table)
        return columns if pa is None else _stream(pa.table(columns))
    if type(table).__name__ != "DataFrame":
        raise TypeError(
            f"a table of type {type(table).__name__} is not known: give a frame of pandas or polars, a table of "
            "pyarrow, anything else that has __arrow_c_stream__, or a dict of columns"
        )
    wanted = {entity} if isinstance(entity, str) else set(entity or ())
    keep_index = bool(wanted.intersection(name for name in table.index.names if name is not None))
    if pa is not None:
        return _stream(pa.Table.from_pandas(table, preserve_index=keep_index))
    frame = table.reset_index() if keep_index else table
    return {str(name): frame[name] for name in frame.columns}


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        return None
    return pyarrow


def _stream(table: ArrowStream) -> ArrowStream:
    return table
