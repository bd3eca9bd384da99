"""Feast's own SDK, unchanged, against the server at the address that is the first argument.

The further arguments are keys: one that may read and write, one that may only read, and one of another tenant.
Every failed expectation is printed; the exit code says whether there was one.
"""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import requests
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
from feast.errors import FeatureNameCollisionError, FeatureViewNotFoundException
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, Map, String, UnixTimestamp

DOCUMENT = Path(__file__).parents[3] / "docs" / "from-feast.md"
ADDRESS, KEY, READ_KEY, OTHER_KEY = sys.argv[1:5]
T1 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
T2 = datetime(2026, 1, 4, tzinfo=timezone.utc)

SCALARS = {"f64": Float64, "f32": Float32, "i32": Int32, "i64": Int64, "text": String, "flag": Bool, "at": UnixTimestamp}
LISTS = {f"{name}s": Array(dtype) for name, dtype in SCALARS.items()}


def store(folder):
    """A feature repository whose online store is the server."""
    (folder / "feature_store.yaml").write_text(
        f"""
project: rides
provider: local
registry: {folder}/registry.db
online_store: {{ type: remote, path: "{ADDRESS}" }}
auth: {{ type: oidc, token_env_var: FSTORE_KEY }}
entity_key_serialization_version: 3
"""
    )
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    offline = FileSource(name="offline", path=f"{folder}/none.parquet", timestamp_field="event_timestamp")
    pushed = PushSource(name="driver_push", batch_source=offline)

    def view(name, entities, schema, source=offline):
        fields = [Field(name=field, dtype=dtype) for field, dtype in schema.items()]
        joined = {"driver": ("driver_id", Int64), "customer": ("customer_id", String)}
        keys = [Field(name=joined[e.name][0], dtype=joined[e.name][1]) for e in entities]
        return FeatureView(name=name, entities=entities, ttl=timedelta(days=3650), schema=keys + fields, source=source)

    stats = view("driver_stats", [driver], {"conv_rate": Float64, "trips": Int32, "city": String}, pushed)
    pairs = view("pair_stats", [driver, customer], {"orders": Int64})
    rated = view("rated", [driver], {"conv_rate": Float64})
    kinds = view("kinds", [driver], {**SCALARS, **LISTS, "map": Map})
    ride = FeatureService(name="ride", features=[stats[["conv_rate", "trips"]], pairs])
    feast = FeatureStore(repo_path=str(folder))
    feast.apply([driver, customer, pushed, stats, pairs, rated, kinds, ride])
    return feast


def write(feast, view, rows):
    feast.write_to_online_store(view, df=pd.DataFrame(rows))


def read(feast, features, rows, **more):
    return feast.get_online_features(features=features, entity_rows=rows, **more)


def statuses(response, name):
    at = list(response.proto.metadata.feature_names.val).index(name)
    return [FieldStatus.Name(status) for status in response.proto.results[at].statuses]


def raises(kind, what, contains):
    try:
        what()
    except kind as error:
        assert contains in str(error), f"{error!r} does not contain {contains!r}"
    else:
        raise AssertionError(f"nothing was raised; expected {kind.__name__}")


def written_rows_are_read_by_list(feast):
    write(feast, "driver_stats", [
        {"driver_id": 1001, "conv_rate": 0.5, "trips": 7, "city": "Oslo", "event_timestamp": T1, "created": T1},
        {"driver_id": 1002, "conv_rate": None, "trips": 3, "city": None, "event_timestamp": T1, "created": T1},
    ])
    features = ["driver_stats:trips", "driver_stats:conv_rate", "driver_stats:city"]
    found = read(feast, features, [{"driver_id": 1002}, {"driver_id": 1001}])
    assert found.to_dict() == {
        "driver_id": [1002, 1001], "trips": [3, 7], "conv_rate": [None, 0.5], "city": [None, "Oslo"],
    }, found.to_dict()
    assert list(found.to_df()["trips"]) == [3, 7]


def a_service_reads_several_views(feast):
    write(feast, "pair_stats", [
        {"driver_id": 1001, "customer_id": "c-1", "orders": 2**60, "event_timestamp": T1, "created": T1}
    ])
    rows = [{"driver_id": 1001, "customer_id": "c-1"}, {"driver_id": 1001, "customer_id": "c-2"}]
    found = read(feast, feast.get_feature_service("ride"), rows).to_dict()
    assert found == {
        "driver_id": [1001, 1001], "customer_id": ["c-1", "c-2"],
        "conv_rate": [0.5, 0.5], "trips": [7, 7], "orders": [2**60, None],
    }, found


def full_feature_names_tell_views_apart(feast):
    write(feast, "rated", [{"driver_id": 1001, "conv_rate": 0.75, "event_timestamp": T1, "created": T1}])
    features = ["driver_stats:conv_rate", "rated:conv_rate"]
    found = read(feast, features, [{"driver_id": 1001}], full_feature_names=True).to_dict()
    assert found == {"driver_id": [1001], "driver_stats__conv_rate": [0.5], "rated__conv_rate": [0.75]}, found
    raises(FeatureNameCollisionError, lambda: read(feast, features, [{"driver_id": 1001}]), "conv_rate")


def missing_entities_are_none_and_not_found(feast):
    found = read(feast, ["driver_stats:trips"], [{"driver_id": 1001}, {"driver_id": 404}])
    assert found.to_dict()["trips"] == [7, None], found.to_dict()
    assert statuses(found, "trips") == ["PRESENT", "NOT_FOUND"], statuses(found, "trips")
    columns = feast.get_online_features(features=["driver_stats:trips"], entity_rows={"driver_id": [404, 1001]})
    assert columns.to_dict()["trips"] == [None, 7], columns.to_dict()


def a_push_is_read_and_an_older_one_changes_nothing(feast):
    row = {"driver_id": 1003, "conv_rate": 0.1, "trips": 4, "city": "Bonn", "event_timestamp": T2, "created": T2}
    feast.push("driver_push", pd.DataFrame([row]))
    feast.push("driver_push", pd.DataFrame([{**row, "trips": 1, "event_timestamp": T1, "created": T2}]))
    found = read(feast, ["driver_stats:trips", "driver_stats:city"], [{"driver_id": 1003}]).to_dict()
    assert found == {"driver_id": [1003], "trips": [4], "city": ["Bonn"]}, found


def every_type_comes_back(feast):
    values = {
        "f64": 1e300, "f32": 0.5, "i32": -(2**31), "i64": 2**62, "text": 'ü "\\\n\u0001 \U0001f600', "flag": True,
        "at": T2,
    }
    lists = {f"{name}s": [value, value] for name, value in values.items()}
    values["map"] = {"a": 1, "b": {"c": "x"}}
    row = {"driver_id": 2001, **values, **lists, "event_timestamp": T1, "created": T1}
    write(feast, "kinds", [row])
    found = read(feast, [f"kinds:{name}" for name in {**values, **lists}], [{"driver_id": 2001}]).to_dict()
    # The remote store of the SDK gives instants as it gets them: seconds since 1970.
    seconds = int(T2.timestamp())
    expected = {"driver_id": 2001, **values, **lists, "at": seconds, "ats": [seconds, seconds]}
    for name, value in expected.items():
        assert found[name] == [value], f"{name}: {found[name]!r} instead of {[value]!r}"


def nulls_are_none(feast):
    # The SDK writes no row that has nothing but nulls.
    nulls = dict.fromkeys([*SCALARS, *LISTS, "map"])
    write(feast, "kinds", [{"driver_id": 2002, **nulls, "flag": False, "event_timestamp": T1, "created": T1}])
    found = read(feast, [f"kinds:{name}" for name in nulls], [{"driver_id": 2002}])
    for name in nulls:
        value, status = (False, "PRESENT") if name == "flag" else (None, "NULL_VALUE")
        assert found.to_dict()[name] == [value], (name, found.to_dict())
        assert statuses(found, name) == [status], (name, statuses(found, name))


def event_times_come_back(feast):
    # The SDK's remote store does not hand them on, so the wire is asked.
    body = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1001, 404]}}
    answer = requests.post(f"{ADDRESS}/get-online-features", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=30).json()
    times = [datetime.fromisoformat(t.replace("Z", "+00:00")) for t in answer["results"][1]["event_timestamps"]]
    assert times == [T1, datetime(1970, 1, 1, tzinfo=timezone.utc)], times


def single_views_are_read_by_the_store_interface(feast):
    keys = [EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=id)]) for id in (1001, 404)]
    view = feast.get_feature_view("driver_stats")
    rows = feast._get_provider().online_store.online_read(feast.config, view, keys, ["trips", "city"])
    time, values = rows[0]
    assert time == T1, time
    assert (values["trips"].int32_val, values["city"].string_val) == (7, "Oslo"), values
    assert not any(value.WhichOneof("val") for value in (rows[1][1] or {}).values()), rows[1]


def what_the_server_does_not_have_is_an_error_of_the_sdk(feast):
    source = FileSource(name="o2", path="none.parquet", timestamp_field="event_timestamp")
    driver = feast.get_entity("driver")
    key, field = Field(name="driver_id", dtype=Int64), Field(name="x", dtype=Int64)
    feast.apply([FeatureView(name="unknown", entities=[driver], schema=[key, field], source=source)])
    raises(FeatureViewNotFoundException, lambda: read(feast, ["unknown:x"], [{"driver_id": 1}]), "unknown")
    raises(Exception, lambda: read(feast, ["driver_stats:nope"], [{"driver_id": 1}]), "nope")
    # What the registry of the client says is not what the server has; so it does for the cases that follow.
    feast.delete_feature_view("unknown")


def a_key_reaches_its_tenant_and_does_what_it_may(feast):
    row = {"driver_id": 1001, "customer_id": "c-1", "orders": 0, "event_timestamp": T2, "created": T2}
    try:
        os.environ["FSTORE_KEY"] = READ_KEY
        assert read(feast, ["driver_stats:trips"], [{"driver_id": 1001}]).to_dict()["trips"] == [7]
        raises(Exception, lambda: write(feast, "pair_stats", [row]), "")
        os.environ["FSTORE_KEY"] = OTHER_KEY
        assert read(feast, ["driver_stats:trips"], [{"driver_id": 1001}]).to_dict()["trips"] == [None]
        write(feast, "pair_stats", [row])
        os.environ["FSTORE_KEY"] = "no-key-at-all"
        raises(Exception, lambda: read(feast, ["driver_stats:trips"], [{"driver_id": 1001}]), "401")
    finally:
        os.environ["FSTORE_KEY"] = KEY
    entity = {"driver_id": 1001, "customer_id": "c-1"}
    assert read(feast, ["pair_stats:orders"], [entity]).to_dict()["orders"] == [2**60]


def the_documents_script_declares_the_same_views(feast):
    script = DOCUMENT.read_text().split("```python\n", 1)[1].split("```", 1)[0]
    command = [sys.executable, "-c", script, "redis://localhost:6379", "acme"]
    printed = subprocess.run(command, cwd=feast.repo_path, check=True, capture_output=True).stdout
    settings = json.loads(printed)
    key = {"Authorization": f"Bearer {KEY}"}
    served = requests.get(f"{ADDRESS}/v1/views", headers=key, timeout=30).json()["feature_views"]

    def by_name(views):
        return {view["name"]: (view["entities"], view["features"]) for view in views}

    assert by_name(settings["feature_views"]) == by_name(served), (settings["feature_views"], served)
    assert {view["max_age"] for view in settings["feature_views"]} == {"315360000s"}
    [service] = settings["feature_services"]
    wanted = ["driver_stats:conv_rate", "driver_stats:trips", "pair_stats:orders"]
    assert (service["name"], sorted(service["features"])) == ("ride", wanted), service
    feast_section = settings["server"]["feast"]
    assert feast_section["push_sources"] == {"driver_push": "driver_stats"}, feast_section
    assert feast_section["join_keys"] == {"driver_id": "int64", "customer_id": "string"}, feast_section


def a_wide_batch_is_read(feast):
    ids = list(range(5000, 5500))
    write(feast, "rated", [
        {"driver_id": id, "conv_rate": id / 8, "event_timestamp": T1, "created": T1} for id in ids
    ])
    found = feast.get_online_features(features=["rated:conv_rate"], entity_rows={"driver_id": ids}).to_dict()
    assert found["conv_rate"] == [id / 8 for id in ids]


CASES = [
    written_rows_are_read_by_list,
    a_service_reads_several_views,
    full_feature_names_tell_views_apart,
    missing_entities_are_none_and_not_found,
    a_push_is_read_and_an_older_one_changes_nothing,
    every_type_comes_back,
    nulls_are_none,
    event_times_come_back,
    single_views_are_read_by_the_store_interface,
    what_the_server_does_not_have_is_an_error_of_the_sdk,
    a_key_reaches_its_tenant_and_does_what_it_may,
    the_documents_script_declares_the_same_views,
    a_wide_batch_is_read,
]

if __name__ == "__main__":
    failed = 0
    os.environ["FSTORE_KEY"] = KEY
    with tempfile.TemporaryDirectory() as folder:
        feast = store(Path(folder))
        for case in CASES:
            try:
                case(feast)
                print(f"ok {case.__name__}")
            except Exception:
                failed += 1
                print(f"FAILED {case.__name__}")
                traceback.print_exc(file=sys.stdout)
    print(f"{len(CASES) - failed} of {len(CASES)} passed")
    sys.exit(1 if failed else 0)
