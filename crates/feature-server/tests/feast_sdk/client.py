"""Feast's own SDK against the server at the URL of the first argument; ends with an error where it is not satisfied."""

import sys
import tempfile
from datetime import datetime, timedelta, timezone

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig, ValueType
from feast import types

url, folder = sys.argv[1], tempfile.mkdtemp()
store = FeatureStore(
    config=RepoConfig(
        project="rides",
        provider="local",
        registry=f"{folder}/registry.db",
        online_store={"type": "remote", "path": url},
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
)
FEATURES = {
    "conv_rate": types.Float64,
    "acc": types.Float32,
    "trips": types.Int32,
    "rides": types.Int64,
    "city": types.String,
    "active": types.Bool,
    "last_login": types.UnixTimestamp,
    "tags": types.Array(types.String),
    "emb": types.Array(types.Float32),
}
driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
source = FileSource(path=f"{folder}/drivers.parquet", timestamp_field="event_timestamp")
pushed = PushSource(name="driver_push", batch_source=source)
schema = [Field(name="driver_id", dtype=types.Int64)]
drivers = FeatureView(
    name="driver_stats",
    entities=[driver],
    ttl=timedelta(days=3650),
    schema=schema + [Field(name=name, dtype=dtype) for name, dtype in FEATURES.items()],
    source=pushed,
)
pairs = FeatureView(
    name="pair_stats",
    entities=[driver, customer],
    ttl=timedelta(days=1),
    schema=schema + [Field(name="customer_id", dtype=types.String), Field(name="orders", dtype=types.Int64)],
    source=FileSource(path=f"{folder}/pairs.parquet", timestamp_field="event_timestamp"),
)
service = FeatureService(name="ride", features=[drivers[["conv_rate", "trips"]], pairs])
login = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
rows = {
    "driver_id": [1001, 1002],
    "conv_rate": [0.5, None],
    "acc": [0.25, 0.75],
    "trips": [7, 8],
    "rides": [2**53 + 1, -(2**62)],
    "city": ["Berlin", None],
    "active": [True, False],
    "last_login": [login, login],
    # An empty list the SDK itself cannot read, whoever sends it.
    "tags": [["a", "b"], ["c"]],
    "emb": [[1.0, 2.0], [3.0, 4.0]],
    "event_timestamp": [login, login],
}
frame = pd.DataFrame(rows)
frame.to_parquet(f"{folder}/drivers.parquet")
pairs_frame = pd.DataFrame({"driver_id": [1001], "customer_id": ["c-1"], "orders": [3], "event_timestamp": [login]})
pairs_frame.to_parquet(f"{folder}/pairs.parquet")
store.apply([driver, customer, drivers, pairs, pushed, service])


def expect(got, wanted, what):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"


store.write_to_online_store("driver_stats", df=frame)
store.write_to_online_store("pair_stats", df=pairs_frame)

names = [f"driver_stats:{name}" for name in FEATURES]
read = store.get_online_features(features=names, entity_rows=[{"driver_id": id} for id in (1001, 1002, 9999)]).to_dict()
for name in FEATURES:
    wanted = [*rows[name], None]
    if name == "last_login":
        wanted = [int(login.timestamp())] * 2 + [None]
        got = [int(value.timestamp()) if isinstance(value, datetime) else value for value in read[name]]
    else:
        got = read[name]
    expect(got, wanted, name)

read = store.get_online_features(features=store.get_feature_service("ride"), entity_rows=[{"driver_id": 1001, "customer_id": "c-1"}]).to_dict()
expect(read, {"driver_id": [1001], "customer_id": ["c-1"], "conv_rate": [0.5], "trips": [7], "orders": [3]}, "service")

read = store.get_online_features(features=["driver_stats:trips"], entity_rows=[{"driver_id": 1001}], full_feature_names=True).to_dict()
expect(read, {"driver_id": [1001], "driver_stats__trips": [7]}, "full_feature_names")

later = {name: values[:1] for name, values in rows.items()}
later |= {"driver_id": [1003], "trips": [42], "event_timestamp": [login + timedelta(hours=1)]}
store.push("driver_push", pd.DataFrame(later))
read = store.get_online_features(features=["driver_stats:trips"], entity_rows=[{"driver_id": 1003}]).to_dict()
expect(read["trips"], [42], "push")

try:
    store.get_online_features(features=["driver_stats:nope"], entity_rows=[{"driver_id": 1001}]).to_dict()
except Exception as error:
    assert "nope" in str(error), error
else:
    raise AssertionError("an unknown feature was read")
print("satisfied")
