"""What a read of many entities gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._native import Table
from .errors import FeatureStoreError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa


@dataclass(frozen=True)
class RowError:
    """Why a record of a table could not be read."""

    row: int
    """Which row, from 0."""
    feature_view: str
    """The view that the record is of."""
    feature: str | None
    """The feature whose value is not of the declared type; None when it is the whole record."""
    error: FeatureStoreError
    """Why."""


class FeatureTable:
    """Features by column, with a row for each entity that was asked for, in order.

    It is Arrow already: pyarrow, polars, duckdb and pandas take it as it is, by ``__arrow_c_array__`` and
    ``__arrow_c_stream__``. Null is what is null, not there, or too old; :meth:`statuses` tells which.
    """

    __slots__ = ("_table",)

    def __init__(self, table: Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return self._table.num_rows

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return self._table.num_rows

    @property
    def feature_view(self) -> str | None:
        """The view that the rows are of; None where the features are of several."""
        return self._table.feature_view

    @property
    def column_names(self) -> list[str]:
        """The features, in the order of the request."""
        return self._table.column_names

    @property
    def column_types(self) -> dict[str, str | None]:
        """The type of each feature (``float64``, ``list<string>``, ...); None where there is none, or several."""
        return dict(zip(self._table.column_names, self._table.column_types))

    @property
    def entities(self) -> list[dict[str, str]]:
        """The entity key of each row; values are text, as they are stored."""
        return self._table.entities()

    @property
    def errors(self) -> list[RowError]:
        """What could not be read, by row. Their cells are null."""
        return [RowError(*error) for error in self._table.errors()]

    @property
    def from_fallback(self) -> dict[str, list[int]]:
        """For each view the rows that a fallback store has served."""
        return dict(self._table.from_fallback())

    def column(self, name: str) -> list[Any]:
        """The values of a feature."""
        return self._table.values(self._index(name))

    def statuses(self, name: str) -> list[str]:
        """Of each row: ``present``, ``null``, ``not_found``, ``outside_max_age`` or ``failed``."""
        return self._table.statuses(self._index(name))

    def event_times(self, name: str) -> list[Any]:
        """Of each row the event time of the write that the value comes from, a datetime; None without one."""
        return self._table.event_times(self._index(name))

    def with_entities(self, entities: bool = True) -> FeatureTable:
        """The same table with the join keys, and the newest event times of a view's records, as columns of Arrow."""
        return FeatureTable(self._table.with_entities(entities))

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as dicts of the features' names and values."""
        return self._table.to_dicts()

    def to_arrow(self) -> pa.RecordBatch:
        """The table as a record batch of pyarrow, without a copy. Maps are JSON in it."""
        import pyarrow

        return pyarrow.record_batch(self)

    def to_polars(self) -> pl.DataFrame:
        """The table as a frame of polars. Maps are JSON in it."""
        import polars

        frame = polars.DataFrame(self)
        assert isinstance(frame, polars.DataFrame)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """The table as a frame of pandas: numbers and times as arrays (integers and booleans with nulls of pandas'
        nullable types), all else as objects of Python."""
        import pandas

        columns: dict[str, Any] = {}
        for index, name in enumerate(self._table.column_names):
            columns[name] = self._pandas_column(pandas, index)
        return pandas.DataFrame(columns, index=range(len(self)))

    def _pandas_column(self, pandas: Any, index: int) -> Any:
        has_null = self._table.has_null(index)
        kind = self._table.column_types[index]
        nullable = {"bool": "boolean", "int32": "Int32", "int64": "Int64"}
        if has_null and kind in nullable:
            return pandas.array(self._table.values(index), dtype=nullable[kind])
        array = self._array(index)
        if array is None:
            return pandas.Series(self._table.values(index), dtype=object)
        return pandas.Series(array).dt.tz_localize("UTC") if kind == "timestamp" else array

    def to_numpy(self, features: Sequence[str] | None = None, dtype: Any = None) -> np.ndarray[Any, Any]:
        """The table as a matrix: a row for each entity, a column for each of the ``features``, or for all.

        Args:
            features: Which columns, in this order; None is all.
            dtype: The type of its elements. None is the columns' own where they all have the same one and no nulls
                (in floats null is NaN), ``float64`` where all are numbers of which a float is exactly each, and
                ``object``, with the values as Python has them, elsewhere.
        """
        import numpy

        names = self._table.column_names
        indices = list(range(len(names))) if features is None else [self._index(name) for name in features]
        if dtype is None:
            dtype = self._common(indices)
        if numpy.dtype(dtype) == numpy.dtype(object):
            matrix = numpy.empty((len(self), len(indices)), dtype=object)
            for place, index in enumerate(indices):
                for row, value in enumerate(self._table.values(index)):
                    matrix[row, place] = value
            return matrix
        if numpy.dtype(dtype) == numpy.dtype("float64"):
            numbers = numpy.frombuffer(self._table.matrix(indices), dtype="float64")
            return numbers.reshape(len(self), len(indices))
        arrays = [self._array(index) for index in indices]
        if any(array is None for array in arrays):
            wrong = names[indices[[array is None for array in arrays].index(True)]]
            raise ValueError(f"`{wrong}` has values that are no numbers: leave it out, or ask for dtype=object")
        return numpy.stack(arrays, axis=1).astype(dtype, copy=False)

    def _common(self, indices: list[int]) -> Any:
        all_types = self._table.column_types
        types = {all_types[index] for index in indices}
        if types in ({"float64"}, {"float32"}):
            return types.pop()
        if types == {"timestamp"}:
            return "datetime64[us]"
        nulls = any(self._table.has_null(index) for index in indices)
        if types <= {"bool", "int32", "int64"} and len(types) == 1 and not nulls:
            return types.pop()
        numbers = types <= {"int32", "int64", "float32", "float64"} and not (nulls and "int64" in types)
        if numbers and types:
            try:
                self._table.matrix(indices)
            except ValueError:
                return object
            return "float64"
        return object

    def _array(self, index: int) -> Any:
        """A column as an array, if it is of numbers, booleans or times."""
        import numpy

        found = self._table.buffer(index)
        if found is None:
            return None
        kind, data = found
        return numpy.frombuffer(data, dtype=kind)

    def _index(self, name: str) -> int:
        try:
            return self._table.column_names.index(name)
        except ValueError:
            raise KeyError(f"there is no column {name!r}; there are {', '.join(self._table.column_names)}") from None

    def __arrow_c_schema__(self) -> object:
        return self._table.__arrow_c_schema__()

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        return self._table.__arrow_c_array__(requested_schema)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"<FeatureTable of {len(self)} rows: {', '.join(self._table.column_names)}>"
