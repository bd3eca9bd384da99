"""Feast's SDK, as it comes, on this store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import servers

if not servers.required("feast"):
    pytest.importorskip("feast", reason="Feast's SDK is not installed", exc_type=ImportError)

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig
from feast.data_source import PushMode
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp, Uuid, ValueType

UTC = timezone.utc
NOW = datetime.now(UTC).replace(microsecond=0)
TYPES: dict[str, Any] = {
    "b": Bytes,
    "s": String,
    "i": Int32,
    "l": Int64,
    "d": Float64,
    "f": Float32,
    "o": Bool,
    "t": UnixTimestamp,
    "u": Uuid,
    "bs": Array(Bytes),
    "ss": Array(String),
    "is": Array(Int32),
    "ls": Array(Int64),
    "ds": Array(Float64),
    "fs": Array(Float32),
    "os": Array(Bool),
    "ts": Array(UnixTimestamp),
}


@pytest.fixture(params=["embedded", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "embedded":
        return f"embedded:{tmp_path}/online.redb"
    server = request.getfixturevalue("redis_server")
    return f"redis://{server.host}:{server.port}"


@pytest.fixture(params=[3])
def repo(request: pytest.FixtureRequest, url: str, tmp_path: Path, tenant: str) -> Iterator[FeatureStore]:
    config = RepoConfig(
        project=tenant.replace("-", "_"),
        registry=str(tmp_path / "registry.db"),
        provider="local",
        online_store={"type": "feature_store.feast.FeatureStoreOnlineStore", "url": url},
        entity_key_serialization_version=request.param,
    )
    yield FeatureStore(config=config)


def driver() -> Entity:
    return Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)


def view(path: Path, name: str = "stats", ttl: timedelta = timedelta(days=1)) -> tuple[FeatureView, PushSource]:
    source = FileSource(name=f"{name}_file", path=str(path), timestamp_field="event_timestamp")
    push = PushSource(name=f"{name}_push", batch_source=source)
    schema = [Field(name="trips", dtype=Int64), Field(name="rate", dtype=Float32), Field(name="city", dtype=String)]
    return FeatureView(name=name, entities=[driver()], ttl=ttl, schema=schema, source=push), push


def rows(path: Path, ages: list[timedelta]) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "driver_id": range(1, len(ages) + 1),
            "trips": [10 * n for n in range(1, len(ages) + 1)],
            "rate": [n / 4 for n in range(1, len(ages) + 1)],
            "city": [f"city {n}" for n in range(1, len(ages) + 1)],
            "event_timestamp": [NOW - age for age in ages],
        }
    )
    frame.astype({"rate": "float32"}).to_parquet(path)
    return frame


def read(repo: FeatureStore, drivers: list[int], features: Any = None, awaited: bool = False) -> dict[str, list[Any]]:
    features = features or ["stats:trips", "stats:rate", "stats:city"]
    entities = [{"driver_id": driver} for driver in drivers]
    if awaited:
        return asyncio.run(repo.get_online_features_async(features=features, entity_rows=entities)).to_dict()
    answer: dict[str, list[Any]] = repo.get_online_features(features=features, entity_rows=entities).to_dict()
    return answer


def test_apply_materialize_push_read_and_tear_down(repo: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "stats.parquet"
    rows(path, [timedelta(hours=1), timedelta(hours=2), timedelta(days=3)])
    stats, push = view(path)
    service = FeatureService(name="model", features=[stats[["rate", "trips"]]])
    repo.apply([driver(), stats, push, service])
    repo.materialize(NOW - timedelta(days=5), NOW + timedelta(minutes=1))
    expected = {
        "driver_id": [1, 2, 3, 9],
        "trips": [10, 20, None, None],
        "rate": [0.25, 0.5, None, None],
        "city": ["city 1", "city 2", None, None],
    }
    # The third is older than the view's TTL.
    assert read(repo, [1, 2, 3, 9]) == expected
    assert read(repo, [1, 2, 3, 9], awaited=True) == expected
    served = read(repo, [2, 1], repo.get_feature_service("model"))
    assert served == {"driver_id": [2, 1], "rate": [0.5, 0.25], "trips": [20, 10]}

    pushed = pd.DataFrame({"driver_id": [1], "trips": [99], "rate": [0.75], "city": ["new"], "event_timestamp": [NOW]})
    repo.push("stats_push", pushed, to=PushMode.ONLINE)
    assert read(repo, [1])["trips"] == [99]
    asyncio.run(repo.push_async("stats_push", pushed.assign(trips=100, event_timestamp=NOW + timedelta(seconds=1))))
    assert read(repo, [1])["trips"] == [100]
    # What is older comes late and changes nothing.
    repo.push("stats_push", pushed.assign(trips=5, event_timestamp=NOW - timedelta(hours=5)), to=PushMode.ONLINE)
    assert read(repo, [1])["trips"] == [100]

    repo.apply([], objects_to_delete=[service, stats], partial=False)
    other, push = view(path, "other")
    repo.apply([driver(), other, push, view(path)[0]])
    assert read(repo, [1])["trips"] == [None]
    repo.push("other_push", pushed, to=PushMode.ONLINE)
    assert read(repo, [1], ["other:trips"])["trips"] == [99]
    repo.teardown()


def proto(kind: str, value: Any) -> ValueProto:
    own = ValueProto()
    if kind.endswith("_list_val"):
        getattr(own, kind).val.extend(value)
        getattr(own, kind).SetInParent()
    else:
        setattr(own, kind, value)
    return own


VALUES = {
    "b": ("bytes_val", b"\x00a\x00"), "s": ("string_val", "aé"), "i": ("int32_val", -5), "l": ("int64_val", 2**62),
    "d": ("double_val", 0.1), "f": ("float_val", 0.1), "o": ("bool_val", True),
    "t": ("unix_timestamp_val", 1_700_000_000),
    "u": ("uuid_val", "c0ffee00-0000-4000-8000-000000000000"), "bs": ("bytes_list_val", [b"a\x00", b""]),
    "ss": ("string_list_val", ["a\x00", ""]), "is": ("int32_list_val", [1, -1]), "ls": ("int64_list_val", [2**62]),
    "ds": ("double_list_val", [0.1]), "fs": ("float_list_val", [0.1]), "os": ("bool_list_val", [True, False]),
    "ts": ("unix_timestamp_list_val", [0, 1_700_000_000]),
}  # fmt: skip


def key(own: ValueProto) -> EntityKeyProto:
    return EntityKeyProto(join_keys=["id"], entity_values=[own])


@pytest.mark.parametrize("repo", [2, 3], indirect=True)
@pytest.mark.parametrize("awaited", [False, True])
def test_values_of_every_type_come_back_as_they_were(repo: FeatureStore, tmp_path: Path, awaited: bool) -> None:
    table = FeatureView(
        name="all",
        entities=[],
        schema=[Field(name=name, dtype=dtype) for name, dtype in TYPES.items()],
        source=FileSource(path=str(tmp_path / "none.parquet"), timestamp_field="event_timestamp"),
    )
    store = repo._get_provider().online_store
    values = {name: proto(*value) for name, value in VALUES.items()}
    empty = {name: proto(kind, []) for name, (kind, _) in VALUES.items() if kind.endswith("_list_val")}
    null = {name: ValueProto() for name in VALUES}
    keys = [key(proto("int64_val", 7)), key(proto("string_val", "x|y=z")), key(proto("double_val", 0.5))]
    data = [(own, row, NOW, None) for own, row in zip(keys, (values, empty, null))]
    random.shuffle(data)
    told: list[int] = []
    if awaited:
        asyncio.run(store.online_write_batch_async(repo.config, table, data, told.append))
        found = asyncio.run(store.online_read_async(repo.config, table, [*keys, key(proto("int64_val", 8))]))
    else:
        store.online_write_batch(repo.config, table, data, told.append)
        found = store.online_read(repo.config, table, [*keys, key(proto("int64_val", 8))])
    assert told == [3]
    assert [time for time, _ in found] == [NOW, NOW, NOW, None]
    assert found[0][1] == values
    assert {name: found[1][1][name] for name in empty} == empty
    assert found[2][1] == null
    assert found[3][1] is None
    asyncio.run(store.close())


def test_versions_of_a_view_are_kept_apart(url: str, tmp_path: Path, tenant: str) -> None:
    config = RepoConfig(
        project=tenant.replace("-", "_"),
        registry={"path": str(tmp_path / "registry.db"), "enable_online_feature_view_versioning": True},
        provider="local",
        online_store={"type": "feature_store.feast.FeatureStoreOnlineStore", "url": url},
        entity_key_serialization_version=3,
    )
    repo = FeatureStore(config=config)
    first, push = view(tmp_path / "stats.parquet")
    second = view(tmp_path / "stats.parquet")[0]
    second.features.append(Field(name="extra", dtype=Int64))
    rows(tmp_path / "stats.parquet", [timedelta(0)])
    for number, (own, trips) in enumerate(((first, 1), (second, 2))):
        repo.apply([driver(), own, push])
        pushed = pd.DataFrame({"driver_id": [1], "trips": [trips], "event_timestamp": [NOW]})
        repo.push("stats_push", pushed.assign(rate=0.5, city="x", **({"extra": 1} if number else {})))
    assert read(repo, [1], ["stats:trips"])["trips"] == [2]
    for version, trips in ((0, 1), (1, 2)):
        found = read(repo, [1], [f"stats@v{version}:trips"])
        assert [value for name, value in found.items() if name != "driver_id"] == [[trips]]
    repo.teardown()


def test_blocking_methods_work_where_a_loop_runs(repo: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "stats.parquet"
    rows(path, [timedelta(hours=1)])
    stats, push = view(path)
    repo.apply([driver(), stats, push])

    async def run() -> dict[str, list[Any]]:
        repo.materialize(NOW - timedelta(days=5), NOW + timedelta(minutes=1))
        return read(repo, [1])

    assert asyncio.run(run())["trips"] == [10]
    repo.teardown()


def test_records_are_gone_after_the_key_s_ttl(url: str, tmp_path: Path, tenant: str) -> None:
    import time

    store_config = {"type": "feature_store.feast.FeatureStoreOnlineStore", "url": url, "key_ttl_seconds": 0.05}
    config = RepoConfig(
        project=tenant.replace("-", "_"),
        registry=str(tmp_path / "r.db"),
        provider="local",
        online_store=store_config,
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)._get_provider().online_store
    table = view(tmp_path / "x.parquet")[0]
    store.online_write_batch(
        config, table, [(key(proto("int64_val", 1)), {"trips": proto("int64_val", 1)}, NOW, None)], None
    )
    time.sleep(0.06)
    assert store.online_read(config, table, [key(proto("int64_val", 1))]) == [(None, None)]
    asyncio.run(store.close())
