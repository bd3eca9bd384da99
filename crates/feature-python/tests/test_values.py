"""What is stored comes back equal and of the same type, by every way out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import feature_store
import numpy as np
import pandas as pd
import pytest
from feature_store import SyncStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

UTC = timezone.utc
ENTITY = {"id": "x"}


@pytest.fixture(scope="module")
def own() -> Iterator[SyncStore]:
    with feature_store.EmbeddedOnlineStore().sync as store:
        yield store


def text() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


INTS = st.integers(-(2**63), 2**63 - 1)
TIMES = st.datetimes(timezones=st.just(UTC))
SCALARS = st.one_of(st.booleans(), INTS, st.floats(), text(), st.binary(max_size=20), TIMES)
LISTS = st.one_of(
    *(st.lists(each, min_size=1, max_size=5) for each in (st.booleans(), INTS, st.floats(), text(), st.binary(), TIMES))
)
MAPS = st.recursive(
    st.dictionaries(text(), st.one_of(SCALARS, LISTS, st.none()), max_size=4),
    lambda inner: st.dictionaries(text(), inner, max_size=3),
    max_leaves=8,
)
VALUES = st.one_of(SCALARS, LISTS)


def same(a: Any, b: Any) -> bool:
    """Equal, of the same type, and a NaN is a NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return bool(a == b)


def written(store: SyncStore, value: Any) -> None:
    store.write_features("t", "v", ENTITY, {"f": value}, datetime(2026, 1, 1), mode="replace")
    store.delete("t", "v", [ENTITY])
    store.write_features("t", "v", ENTITY, {"f": value})


SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(value=st.one_of(VALUES, MAPS, st.none()))
def test_dicts(own: SyncStore, value: Any) -> None:
    written(own, value)
    row = own.read_features("t", "v", ENTITY, ["f"], include=["statuses"])
    assert row is not None
    assert same(row["features"]["f"], value)
    assert row["statuses"]["f"] == ("null" if value is None else "present")
    assert same(own.read_table("t", "v", [ENTITY]).to_dicts(), [{"f": value}])


@SETTINGS
@given(value=VALUES)
def test_arrow(own: SyncStore, value: Any) -> None:
    written(own, value)
    # Arrow's Python objects of times have another class of zone.
    out = own.read_table("t", "v", [ENTITY], ["f"]).to_arrow().column("f").to_pylist()[0]
    assert same(without_zone(out), without_zone(value))


def without_zone(value: Any) -> Any:
    if isinstance(value, list):
        return [without_zone(each) for each in value]
    return value.astimezone(UTC) if isinstance(value, datetime) else value


@SETTINGS
@given(value=VALUES)
def test_pandas(own: SyncStore, value: Any) -> None:
    written(own, value)
    out = own.read_table("t", "v", [ENTITY], ["f"]).to_pandas()["f"]
    first = out.iloc[0]
    if isinstance(value, datetime):
        assert out.dtype == pd.DatetimeTZDtype("us", "UTC")
        assert first == value
    else:
        assert same(first.item() if isinstance(first, np.generic) else first, value)


@SETTINGS
@given(value=VALUES)
def test_numpy(own: SyncStore, value: Any) -> None:
    written(own, value)
    table = own.read_table("t", "v", [ENTITY], ["f"])
    assert same(table.to_numpy(dtype=object)[0, 0], value)
    out = table.to_numpy()
    if isinstance(value, datetime):
        assert out[0, 0] == np.datetime64(value.replace(tzinfo=None), "us")
    else:
        assert same(out[0, 0].item() if isinstance(out[0, 0], np.generic) else out[0, 0], value)


@SETTINGS
@given(value=VALUES)
def test_a_table_written_back_is_the_same(own: SyncStore, value: Any) -> None:
    written(own, value)
    table = own.read_table("t", "v", [ENTITY], ["f"]).with_entities()
    own.purge("t", "copy")
    report = own.write_table("t", "copy", table, entity="id", timestamp="timestamp")
    assert (report.written, report.rejected) == (1, 0), report.rejects
    copy = own.read_features("t", "copy", ENTITY)
    assert copy is not None
    assert same(copy["features"]["f"], value)


@pytest.mark.parametrize(
    ("value", "stored", "kind"),
    [
        (np.int8(3), 3, "int32"),
        (np.int32(-3), -3, "int32"),
        (np.uint32(3), 3, "int64"),
        (np.uint64(3), 3, "int64"),
        (np.float16(0.5), 0.5, "float32"),
        (np.float32(0.1), float(np.float32(0.1)), "float32"),
        (np.float64(0.1), 0.1, "float64"),
        (np.bool_(True), True, "bool"),
        (np.str_("a"), "a", "string"),
        (np.datetime64("2026-01-02T03:04:05.678901"), datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), "timestamp"),
        (np.array([1, 2], "int32"), [1, 2], "list<int32>"),
        (np.array([1, 2], "float32"), [1.0, 2.0], "list<float32>"),
        (np.array([1, 2], ">f8"), [1.0, 2.0], "list<float64>"),
        (np.arange(6)[::2], [0, 2, 4], "list<int64>"),
        (np.array([True, False]), [True, False], "list<bool>"),
        (np.array(["a", "bc"]), ["a", "bc"], "list<string>"),
        (np.array([], "float32"), [], "list<float32>"),
        (np.array(5), 5, "int64"),
        (pd.Series([1, 2]), [1, 2], "list<int64>"),
        (pd.Timestamp("2026-01-02", tz="UTC"), datetime(2026, 1, 2, tzinfo=UTC), "timestamp"),
        (bytearray(b"ab"), b"ab", "bytes"),
        (memoryview(b"ab"), b"ab", "bytes"),
        ((1, 2), [1, 2], "list<int64>"),
        ([1, 2.5], [1.0, 2.5], "list<float64>"),
        (date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), "timestamp"),
        (datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), "timestamp"),
        (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5))), datetime(2026, 1, 1, 19, tzinfo=UTC), "timestamp"),
        (Decimal("0.5"), 0.5, "float64"),
        (pd.NaT, None, None),
        (pd.NA, None, None),
        (np.datetime64("NaT"), None, None),
    ],
)
def test_what_else_is_taken(own: SyncStore, value: Any, stored: Any, kind: str | None) -> None:
    written(own, value)
    table = own.read_table("t", "v", [ENTITY], ["f"])
    assert same(table.column("f")[0], stored)
    assert table.column_types == {"f": kind}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (2**63, "beyond 64 bits"),
        (1j, "type complex"),
        (object(), "type object"),
        ([], "empty list"),
        ([1, "a"], "several types"),
        ([1, None], "several types"),
        ([[1]], "several types"),
        (Decimal("0.1"), "exactly Decimal"),
        (np.zeros((2, 2)), "2 dimensions"),
        (np.array([1j]), "complex"),
        ({1: 2}, "key of type int"),
        ("\ud800", "surrogates"),
    ],
)
def test_what_cannot_be_stored_is_named(own: SyncStore, value: Any, why: str) -> None:
    with pytest.raises(feature_store.InvalidArgumentError) as caught:
        own.write_features("acme", "customers", {"customer_id": 7}, {"spend": value})
    for part in ("acme:customers", "customer_id=7", "`spend`", why):
        assert part in str(caught.value)


def test_deep_dicts_are_refused_and_not_followed_for_ever(own: SyncStore) -> None:
    deep: dict[str, Any] = {}
    deep["again"] = deep
    with pytest.raises(feature_store.InvalidArgumentError, match="nested more than 16 deep"):
        own.write_features("t", "v", ENTITY, {"f": deep})


@pytest.mark.parametrize(
    ("own_key", "text"), [("x", "x"), (7, "7"), (np.int64(7), "7"), (np.uint8(7), "7"), (2**63, str(2**63))]
)
def test_entity_keys(own: SyncStore, own_key: Any, text: str) -> None:
    own.purge("keys")
    own.write_features("keys", "v", {"id": own_key}, {"a": 1})
    assert own.read_features("keys", "v", {"id": text}) is not None
    row = own.read_features("keys", "v", {"id": own_key})
    assert row is not None and row["entity_key"] == {"id": own_key}


@pytest.mark.parametrize("wrong", [True, np.bool_(True), 1.5, None, b"x", 2**64])
def test_what_is_no_entity_key_is_refused(own: SyncStore, wrong: Any) -> None:
    with pytest.raises(feature_store.InvalidArgumentError, match="join key `id` is of type"):
        own.write_features("t", "v", {"id": wrong}, {"a": 1})


def test_declared_types_decide_what_numbers_become() -> None:
    views = [
        {
            "name": "v",
            "entities": ["id"],
            "features": {
                "i": "int32",
                "f": "float32",
                "d": "float64",
                "l": "list<float32>",
                "e": "list<string>",
                "n": "int64",
            },
        }
    ]
    store = feature_store.EmbeddedOnlineStore(views=views).sync
    features = {"i": 5, "f": 0.1, "d": 3, "l": [1, 2], "e": [], "n": Decimal("12")}
    store.write_features("t", "v", ENTITY, features)
    table = store.read_table("t", "v", [ENTITY], list(features))
    assert table.column_types == views[0]["features"]
    assert table.to_dicts() == [{"i": 5, "f": float(np.float32(0.1)), "d": 3.0, "l": [1.0, 2.0], "e": [], "n": 12}]
    for wrong in ({"i": 2**31}, {"f": 1e300}, {"d": 2**53 + 1}, {"i": "5"}, {"other": 1}):
        with pytest.raises(feature_store.InvalidArgumentError):
            store.write_features("t", "v", ENTITY, wrong)
