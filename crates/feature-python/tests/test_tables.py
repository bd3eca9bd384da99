"""Tables out of the store and into it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timezone
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
    report = memory.sync.write_table(tenant, "v", TABLES[kind](), entity="customer_id", timestamp="ts")
    assert (report.read, report.written, report.rejected, report.entities) == (3, 3, 0, 3), report
    table = memory.sync.read_table(tenant, "v", {"customer_id": COLUMNS["customer_id"]}, FEATURES)
    assert table.to_dicts() == EXPECTED
    assert table.event_times("orders") == [NOW, NOW, NOW]


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
