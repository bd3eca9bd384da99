"""What goes wrong is said, and where."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import feature_store
import pytest
from feature_store import FeatureStoreError, InvalidArgumentError, OnlineStoreBackend, errors
from feature_store._arguments import Record


def test_every_kind_has_its_class() -> None:
    classes = [getattr(errors, name) for name in errors.__all__]
    assert all(issubclass(own, FeatureStoreError) for own in classes)
    assert all(getattr(feature_store, own.__name__) is own for own in classes)
    kinds = "InvalidArgument LimitExceeded Unsupported NotConfigured Unauthenticated PermissionDenied Throttled "
    kinds += "Unavailable DeadlineExceeded Conflict Corrupt Internal"
    assert {own.__name__ for own in classes} == {f"{kind}Error" for kind in kinds.split()} | {"FeatureStoreError"}


def test_a_batch_writes_what_can_be_written_and_tells_of_the_rest(memory: OnlineStoreBackend, tenant: str) -> None:
    late = datetime.now(timezone.utc) + timedelta(days=2)
    records: list[Record] = [({"id": 1}, {"a": 1}), ({"id": 2}, {"a": 1}, late), ({"id": 3}, {"a": 1}, None)]
    with pytest.raises(InvalidArgumentError) as caught:
        memory.sync.batch_write(tenant, "v", records)
    error = caught.value
    assert list(error.rows) == [1] and error.rows[1].kind == "InvalidArgument"
    assert "after now" in str(error) and not error.in_doubt and not error.retryable
    assert isinstance(error.report, feature_store.WriteReport)
    assert (error.report.written, error.report.applied, list(error.report.failures)) == (2, 2, [1])
    report = memory.sync.batch_write_report(tenant, "v", records)
    # The first came without a time, and so did the third: they are newer now.
    assert [outcome if isinstance(outcome, bool) else outcome.kind for outcome in report.outcomes] == [
        True,
        "InvalidArgument",
        True,
    ]
    assert memory.sync.delete(tenant, "v", [{"id": 1}, {"id": 2}, {"id": 3}]) == [True, False, True]


def test_late_writes_change_nothing_and_are_no_failure(memory: OnlineStoreBackend, tenant: str) -> None:
    new, old = datetime(2026, 1, 2), datetime(2026, 1, 1)
    assert memory.sync.write_features(tenant, "v", {"id": 1}, {"a": 1}, new) is True
    assert memory.sync.write_features(tenant, "v", {"id": 1}, {"a": 0}, old) is False
    assert memory.sync.write_features(tenant, "v", {"id": 1}, {"b": 2}, old) is True
    row = memory.sync.read_features(tenant, "v", {"id": 1}, include=["event_times"])
    assert row is not None and row["features"] == {"a": 1, "b": 2}
    assert row["event_times"] == {"a": "2026-01-02T00:00:00+00:00", "b": "2026-01-01T00:00:00+00:00"}
    assert memory.sync.write_features(tenant, "v", {"id": 1}, {"c": 3}, new, mode="replace")
    row = memory.sync.read_features(tenant, "v", {"id": 1})
    assert row is not None and "b" not in row["features"]


def test_a_store_that_is_not_there() -> None:
    store = feature_store.RedisOnlineStore("127.0.0.1", 1, password="s3cret!", connect_timeout="50ms")
    with pytest.raises(feature_store.UnavailableError) as caught:
        asyncio.run(store.read_features("t", "v", {"id": 1}))
    assert caught.value.retryable and caught.value.kind == "Unavailable"
    for shown in (str(caught.value), repr(caught.value), repr(store), repr(store.sync)):
        assert "s3cret" not in shown
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is feature_store.UnavailableError and again.__dict__ == caught.value.__dict__


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: feature_store.open("redis://localhost?conections=2"), "conections"),
        (lambda: feature_store.open("mongo://localhost"), "unknown store scheme `mongo`"),
        (lambda: feature_store.open("features.redb"), "embedded:features.redb"),
        (lambda: feature_store.RedisOnlineStore(cluster_mode=True, db=3), "cluster has database 0 alone"),
        (lambda: feature_store.RedisOnlineStore(deadline_seconds=-1), "no length of time"),
        (lambda: feature_store.EmbeddedOnlineStore(deadline_seconds=0), "deadline is zero"),
        (lambda: feature_store.EmbeddedOnlineStore(views=[{"name": "v"}]), "feature views cannot be read"),
    ],
)
def test_wrong_settings_are_told_at_once(make: Callable[[], object], why: str) -> None:
    with pytest.raises(InvalidArgumentError, match=why):
        make()


def test_wrong_arguments(memory: OnlineStoreBackend, tenant: str) -> None:
    own = memory.sync
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: own.write_features(tenant, "v", "c1", {"a": 1}), "entity key is of type str"),  # type: ignore[arg-type]
        (lambda: own.write_features(tenant, "v", {}, {"a": 1}), "at least one join key"),
        (lambda: own.write_features("", "v", {"id": 1}, {"a": 1}), "tenant"),
        (lambda: own.write_features(tenant, "v", {"id": 1}, {"a": 1}, ttl_seconds=-1), "no length of time"),
        (lambda: own.write_features(tenant, "v", {"id": 1}, {"a": 1}, "now"), "type str: give a datetime"),  # type: ignore[arg-type]
        (lambda: own.write_features(tenant, "v", {"id": 1}, {"a": 1}, mode="append"), "`merge` or `replace`"),  # type: ignore[arg-type]
        (lambda: own.batch_write(tenant, "v", [{"id": 1}]), "record 0: it is of type dict"),  # type: ignore[list-item]
        (lambda: own.batch_read(tenant, "v", [{"id": 1}, "x"]), "entity 1: an entity key"),  # type: ignore[list-item]
    ]
    for call, why in wrong:
        with pytest.raises(InvalidArgumentError, match=why):
            call()
    with pytest.raises(ValueError, match="'statuses' and 'event_times'"):
        own.read_features(tenant, "v", {"id": 1}, include=["status"])  # type: ignore[list-item]


def test_a_closed_store_says_so() -> None:
    async def run() -> None:
        async with feature_store.EmbeddedOnlineStore() as store:
            await store.write_features("t", "v", {"id": 1}, {"a": 1})
        with pytest.raises(feature_store.UnavailableError, match="closed"):
            await store.read_features("t", "v", {"id": 1})
        await store.close()

    asyncio.run(run())
