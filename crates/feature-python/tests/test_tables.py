"""Tables out of the store and into it."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import feature_store
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feature_store import OnlineStoreBackend, UnifiedFeatureStore

UTC = timezone.utc
NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
COLUMNS: dict[str, list[Any]] = {
    "customer_id": ["c1", "c2", "c3"],
    "ts": [NOW, NOW, NOW],
    "orders": [1, 2, 3],
    "spend": [0.5, None, 2.5],
    "country": ["DE", "FR", None],
    "tags": [["a", "b"], [], None],
    "active": [True, False, True],
}
FEATURES = ["orders", "spend", "country", "tags", "active"]
EXPECTED = [{name: COLUMNS[name][row] for name in FEATURES} for row in range(3)]

TABLES: dict[str, Callable[[], Any]] = {
    "pyarrow": lambda: pa.table(COLUMNS),
    "batch": lambda: pa.RecordBatchReader.from_batches(pa.table(COLUMNS).schema, pa.table(COLUMNS).to_batches()),
    "polars": lambda: pl.DataFrame(COLUMNS),
    "pandas": lambda: pd.DataFrame(COLUMNS).astype({"orders": "int64"}),
    "pandas with the entity as index": lambda: pd.DataFrame(COLUMNS).set_index("customer_id"),
    "duckdb": lambda: duckdb.sql("SELECT * FROM own", connection=connection()),
    "dict": lambda: dict(COLUMNS),
}


def connection() -> duckdb.DuckDBPyConnection:
    own = duckdb.connect()
    own.execute("SET TimeZone = 'UTC'")
    own.register("own", pa.table(COLUMNS))
    return own


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_every_library_are_written(memory: OnlineStoreBackend, tenant: str, kind: str) -> None:
    is_written(memory, tenant, TABLES[kind]())


def is_written(memory: OnlineStoreBackend, tenant: str, table: Any) -> None:
    report = memory.sync.write_table(tenant, "v", table, entity="customer_id", timestamp="ts")
    assert (report.read, report.written, report.rejected, report.entities) == (3, 3, 0, 3), report
    table = memory.sync.read_table(tenant, "v", {"customer_id": COLUMNS["customer_id"]}, FEATURES)
    assert table.to_dicts() == EXPECTED
    assert table.event_times("orders") == [NOW, NOW, NOW]


@pytest.mark.parametrize("kind", [kind for kind in TABLES if kind.startswith(("pandas", "dict"))])
def test_pandas_and_dicts_need_no_pyarrow(
    memory: OnlineStoreBackend, tenant: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TABLES[kind]()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    is_written(memory, tenant, table)


def test_columns_of_every_kind_need_no_pyarrow(
    memory: OnlineStoreBackend, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = np.array(["2026-01-02", "NaT"], "datetime64[ns]")
    columns: dict[str, tuple[Any, list[Any], str | None]] = {
        "float32": (np.array([0.5, np.nan], "float32"), [0.5, np.nan], "float32"),
        "series": (pd.Series([0.5, np.nan]), [0.5, None], "float64"),
        "int32": (np.array([1, -1], "int32"), [1, -1], "int32"),
        "nullable": (pd.Series([1, pd.NA], dtype="Int64"), [1, None], "int64"),
        "bool": (np.array([True, False]), [True, False], "bool"),
        "text": (np.array(["a", "bc"]), ["a", "bc"], "string"),
        "category": (pd.Series(["a", None], dtype="category"), ["a", None], "string"),
        "polars": (pl.Series([1, None]), [1, None], "int64"),
        "time": (times, [datetime(2026, 1, 2, tzinfo=UTC), None], "timestamp"),
        "series of times": (pd.Series(times), [datetime(2026, 1, 2, tzinfo=UTC), None], "timestamp"),
        "numbers": ((1, 2.5), [1.0, 2.5], "float64"),
        "range": (range(2), [0, 1], "int64"),
        "lists": ([[], [1.5]], [[], [1.5]], "list<float64>"),
        "nulls": ([None, None], [None, None], None),
    }
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    table = {"id": ["x", "y"], **{name: column for name, (column, _, _) in columns.items()}}
    report = memory.sync.write_table(tenant, "v", table, entity="id")
    assert (report.written, report.rejected) == (2, 0), report.rejects
    found = memory.sync.read_table(tenant, "v", {"id": ["x", "y"]}, list(columns))
    for name, (_, values, kind) in columns.items():
        np.testing.assert_equal(found.column(name), values, name)
        assert found.column_types[name] == kind, name


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ([1, "a"], "the column `a`: its values have several types"),
        ([1], "the column `a` has 1 rows, and the first has 2"),
        ("ab", "the column `a`: it is one text"),
        (7, "the column `a`: it is no list of values"),
        ([1, 1j], "the column `a`: in row 1, a value of type complex"),
        ([[], []], "the type of an empty list cannot be told"),
        ([{"x": 1}, None], "the column `a`: Arrow has no type for its dicts: install pyarrow"),
    ],
)
def test_what_is_no_column_is_said(
    memory: OnlineStoreBackend, tenant: str, column: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(feature_store.InvalidArgumentError, match=re.escape(why)):
        memory.sync.write_table(tenant, "v", {"id": ["x", "y"], "a": column}, entity="id")


@pytest.mark.parametrize("max_age", [None, 1800.0])
@pytest.mark.parametrize("names", [None, ["late", "f", "n", "mixed", "null", "none"], ["f", "n", "f"]])
def test_columns_say_what_rows_say(
    store: OnlineStoreBackend, tenant: str, names: list[str] | None, max_age: float | None
) -> None:
    now = datetime.now(UTC)
    rows: list[tuple[dict[str, int], dict[str, Any], datetime]] = [
        ({"id": 1}, {"f": 0.5, "n": 1, "mixed": 1.5, "null": None, "late": 1.0}, now - timedelta(hours=1)),
        ({"id": 2}, {"f": 1.5, "n": 2, "mixed": "x", "null": 1.0}, now),
        ({"id": 3}, {"mixed": 2.5}, now),
        ({"id": 1}, {"late": 2.0}, now),
    ]
    for row in rows:
        store.sync.write_features(tenant, "v", *row)
    keys = [{"id": 1}, {"id": 9}, {"id": 2}, {"id": 3}, {"id": 1}]
    table = store.sync.read_table(tenant, "v", keys, names, max_age_seconds=max_age)
    found = store.sync.batch_read(
        tenant, "v", keys, names, include=["statuses", "event_times"], max_age_seconds=max_age
    )
    assert table.column_names == (names or ["f", "late", "mixed", "n", "null"])
    for name in table.column_names:
        times = [time and time.isoformat() for time in table.event_times(name)]
        for row, value, status, time in zip(found, table.column(name), table.statuses(name), times):
            if row is None or name not in row["features"]:
                assert (value, status, time) == (None, "not_found", None), name
            else:
                own = (row["features"][name], row["statuses"][name], row["event_times"][name])
                assert (value, status, time) == own, name
    kinds = {"f": "float64", "n": "int64", "mixed": None, "null": "float64", "late": "float64", "none": None}
    assert all(table.column_types[name] == kinds[name] for name in table.column_names)


def test_a_table_is_taken_by_every_library(memory: OnlineStoreBackend, tenant: str) -> None:
    memory.sync.write_table(tenant, "v", pa.table(COLUMNS), entity="customer_id", timestamp="ts")
    entities = {"customer_id": pd.Series(["c3", "none", "c1"])}
    table = memory.sync.read_table(tenant, "v", entities, FEATURES)
    expected = [EXPECTED[2], dict.fromkeys(FEATURES), EXPECTED[0]]
    assert table.to_arrow().to_pylist() == expected
    assert pa.table(table).to_pylist() == expected
    assert table.to_polars().to_dicts() == expected
    assert duckdb.sql("SELECT sum(orders) FROM own", connection=with_table(table)).fetchall() == [(4,)]
    frame = table.to_pandas()
    assert list(frame.columns) == FEATURES
    assert frame["orders"].tolist() == [3, pd.NA, 1] and frame["orders"].dtype == "Int64"
    assert frame["active"].dtype == "boolean"
    assert np.isnan(frame["spend"].iloc[1])
    assert table.statuses("spend") == ["present", "not_found", "present"]
    assert table.entities == [{"customer_id": "c3"}, {"customer_id": "none"}, {"customer_id": "c1"}]
    with pytest.raises(KeyError, match="no column 'x'; there are orders"):
        table.column("x")


def with_table(table: Any) -> duckdb.DuckDBPyConnection:
    own = duckdb.connect()
    own.register("own", pa.table(table))
    return own


def test_matrices(memory: OnlineStoreBackend, tenant: str) -> None:
    rows = [({"id": n}, {"a": n / 2, "b": float(n), "i": n, "t": str(n)}) for n in range(4)]
    memory.sync.batch_write(tenant, "v", rows)
    table = memory.sync.read_table(tenant, "v", [{"id": n} for n in [0, 1, 2, 3, 9]], ["a", "b", "i", "t"])
    floats = table.to_numpy(["a", "b"])
    assert floats.dtype == "float64" and floats.shape == (5, 2)
    assert floats[:4].tolist() == [[0, 0], [0.5, 1], [1, 2], [1.5, 3]] and np.isnan(floats[4]).all()
    floats[0, 0] = 7.0
    assert table.to_numpy(["i"]).dtype == object
    assert table.to_numpy(["a", "i"], dtype="float64")[3].tolist() == [1.5, 3]
    assert table.to_numpy()[3].tolist() == [1.5, 3.0, 3, "3"]
    with pytest.raises(ValueError, match="`t` has values that are no numbers"):
        table.to_numpy(dtype="float64")
    whole = memory.sync.read_table(tenant, "v", [{"id": 1}, {"id": 2}], ["i"]).to_numpy()
    assert whole.dtype == "int64" and whole.tolist() == [[1], [2]]


def test_values_of_several_types_in_a_column(memory: OnlineStoreBackend, tenant: str) -> None:
    memory.sync.batch_write(tenant, "v", [({"id": 1}, {"a": 1, "n": 1}), ({"id": 2}, {"a": "x", "n": 0.5})])
    table = memory.sync.read_table(tenant, "v", [{"id": 1}, {"id": 2}])
    assert table.column_types == {"a": None, "n": "float64"}
    assert table.to_dicts() == [{"a": 1, "n": 1}, {"a": "x", "n": 0.5}]
    with pytest.raises(ValueError, match="`a` have several types"):
        table.to_arrow()


def test_files(memory: OnlineStoreBackend, tenant: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(COLUMNS), tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text("customer_id,orders\nc4,4\n,5\nc6,six\n")
    told: list[dict[str, Any]] = []
    report = memory.sync.ingest(
        tenant, "v", tmp_path / "rows.parquet", entity="customer_id", timestamp="ts", progress=told.append
    )
    assert report.written == 3
    assert told[-1]["written"] == 3
    report = memory.sync.ingest(tenant, "w", [str(tmp_path / "*.csv")], entity=["customer_id"])
    assert (report.read, report.written, report.rejected) == (3, 2, 1)
    assert report.rejects[0]["row"] == 2
    with pytest.raises(feature_store.InvalidArgumentError, match="nothing-here"):
        memory.sync.ingest(tenant, "v", tmp_path / "nothing-here.parquet", entity="id")


def test_what_makes_no_sense_for_a_table_is_said(memory: OnlineStoreBackend, tenant: str) -> None:
    table = pa.table(COLUMNS)
    with pytest.raises(feature_store.InvalidArgumentError, match="no_such"):
        memory.sync.write_table(tenant, "v", table, entity="no_such")
    with pytest.raises(TypeError, match="type list is not known"):
        memory.sync.write_table(tenant, "v", [1, 2], entity="id")
    with pytest.raises(feature_store.InvalidArgumentError, match="one text"):
        memory.sync.read_table(tenant, "v", {"customer_id": "c1"})
    with pytest.raises(feature_store.InvalidArgumentError, match="have 2 rows, and b has 1"):
        memory.sync.read_table(tenant, "v", {"a": [1, 2], "b": [1]})


def test_scans(store: OnlineStoreBackend, tenant: str) -> None:
    rows = [({"id": str(n), "part": "p"}, {"n": n}, NOW) for n in range(250)]
    store.sync.batch_write(tenant, "v", rows)

    async def scan() -> list[pa.RecordBatch]:
        return [table.to_arrow() async for table in store.scan(tenant, "v", batch_rows=100)]

    for batches in (asyncio.run(scan()), [t.to_arrow() for t in store.sync.scan(tenant, "v", batch_rows=100)]):
        assert [batch.num_rows for batch in batches] == [100, 100, 50]
        whole = pa.Table.from_batches(batches).sort_by("n")
        assert whole.column_names == ["id", "part", "timestamp", "n"]
        assert whole["id"].to_pylist() == [str(n) for n in range(250)]
        assert whole["timestamp"].to_pylist() == [NOW] * 250


def test_a_tenant_is_scanned_view_by_view(store: OnlineStoreBackend, tenant: str) -> None:
    for view, join_key in (("customers", "customer_id"), ("devices", "device_id")):
        store.sync.batch_write(tenant, view, [({join_key: str(n)}, {f"{view}_n": n}, NOW) for n in range(25)])
    store.sync.write_features(f"{tenant}-other", "customers", {"customer_id": "x"}, {"n": 1})

    async def scan() -> list[feature_store.FeatureTable]:
        return [table async for table in store.scan(tenant, batch_rows=10)]

    for tables in (asyncio.run(scan()), list(store.sync.scan(tenant, batch_rows=10))):
        for view, join_key in (("customers", "customer_id"), ("devices", "device_id")):
            own = [table.to_arrow() for table in tables if table.feature_view == view]
            assert sorted(batch.num_rows for batch in own) == [5, 10, 10]
            whole = pa.Table.from_batches(own).sort_by(f"{view}_n")
            assert whole.column_names == [join_key, "timestamp", f"{view}_n"]
            assert whole[join_key].to_pylist() == [str(n) for n in range(25)]
        assert len(tables) == 6


SETTINGS: dict[str, Any] = {
    "stores": {"main": {"url": "embedded::memory:"}},
    "default": {"store": "main"},
    "feature_views": [
        {"name": "customers", "entities": ["customer_id"], "features": {"orders": "int64", "score": "float64"}},
        {"name": "devices", "entities": ["device_id"], "features": {"logins": "int32", "score": "float64"}},
    ],
    "feature_services": [{"name": "fraud", "features": ["customers:*", "devices:logins"]}],
}


def test_a_model_s_request() -> None:
    with UnifiedFeatureStore(SETTINGS).sync as own:
        own.write_features("acme", "customers", {"customer_id": "c1"}, {"orders": 3, "score": 1}, NOW)
        own.write_features("acme", "devices", {"device_id": "d1"}, {"logins": 5, "score": 0.5}, NOW)
        entities = {"customer_id": ["c1", "c2"], "device_id": ["d1", "d1"]}
        table = own.read("acme", service="fraud", entities=entities)
        assert table.to_dicts() == [
            {"orders": 3, "score": 1.0, "logins": 5},
            {"orders": None, "score": None, "logins": 5},
        ]
        assert table.column_types == {"orders": "int64", "score": "float64", "logins": "int32"}
        assert table.to_arrow().schema.field("logins").type == pa.int32()
        both = own.read("acme", features=["customers:score", "devices:score"], entities=entities)
        assert both.column_names == ["customers__score", "devices__score"]
        full = own.read("acme", features=["devices:logins"], entities=entities, full_feature_names=True)
        assert full.column_names == ["devices__logins"]
        old = own.read("acme", service="fraud", entities=entities, max_age_seconds=1)
        assert old.statuses("orders") == ["outside_max_age", "not_found"]
        assert own.migrations() == []
        for wrong in ({}, {"service": "fraud", "features": ["customers:*"]}, {"service": "none"}, {"features": ["x"]}):
            with pytest.raises(feature_store.InvalidArgumentError):
                own.read("acme", entities=entities, **wrong)
        with pytest.raises(feature_store.InvalidArgumentError, match="not declared"):
            own.write_features("acme", "others", {"id": 1}, {"a": 1})


def test_settings_files(file_of: Callable[[str, str], Path]) -> None:
    wrong = file_of("wrong.yaml", "stores:\n  main: { url: 'redis:/x' }\nrouts: []\n")
    with pytest.raises(feature_store.InvalidArgumentError) as caught:
        feature_store.open_settings(wrong)
    assert "routs" in str(caught.value)
    right = file_of("right.yaml", "stores:\n  main: { url: 'embedded::memory:' }\ndefault: { store: main }\n")
    with feature_store.open_settings(right).sync as own:
        assert own.write_features("t", "v", {"id": 1}, {"a": 1})


def test_views_of_a_file(file_of: Callable[[str, str], Path]) -> None:
    path = file_of("views.yaml", "feature_views:\n  - { name: v, entities: [id], features: { a: int32 }, ttl: 1d }\n")
    with feature_store.open("embedded::memory:", views=path).sync as own:
        own.write_features("t", "v", {"id": 1}, {"a": 1})
        with pytest.raises(feature_store.InvalidArgumentError, match="`b` is not a feature"):
            own.write_features("t", "v", {"id": 1}, {"b": 1})
