"""An online store for Feast's SDK, named in ``feature_store.yaml`` by its class.

::

    online_store:
      type: feature_store.feast.FeatureStoreOnlineStore
      url: redis://localhost:6379

A project is a tenant, and a feature view is the view of its name. A view's ``ttl`` is how old a feature may be, by its
event time, to be served.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any, Literal, TypeVar

import numpy as np
from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import FeastConfigBaseModel

from . import _stores
from ._results import FeatureRow
from ._stores import OnlineStoreBackend

__all__ = ["FeatureStoreOnlineStore", "FeatureStoreOnlineStoreConfig"]

_Result = TypeVar("_Result")
_Rows = list[tuple[EntityKeyProto, dict[str, ValueProto], datetime, datetime | None]]
_Found = list[tuple[datetime | None, dict[str, ValueProto] | None]]

# The values that this store has types for. All others, such as sets and UUIDs, are kept as Feast encodes them.
_NUMPY = {
    "int32_val": np.int32,
    "float_val": np.float32,
}
_PLAIN = {
    "bytes_val",
    "string_val",
    "int32_val",
    "int64_val",
    "double_val",
    "float_val",
    "bool_val",
    "unix_timestamp_val",
}
_LISTS = {
    "bytes_list_val": "S1",
    "string_list_val": "U1",
    "int32_list_val": "int32",
    "int64_list_val": "int64",
    "double_list_val": "float64",
    "float_list_val": "float32",
    "bool_list_val": "bool",
    "unix_timestamp_list_val": "datetime64[s]",
}
_KINDS = {
    "BYTES": "bytes_val",
    "STRING": "string_val",
    "INT32": "int32_val",
    "INT64": "int64_val",
    "DOUBLE": "double_val",
    "FLOAT": "float_val",
    "BOOL": "bool_val",
    "UNIX_TIMESTAMP": "unix_timestamp_val",
}
_KINDS |= {f"{name}_LIST": kind.replace("_val", "_list_val") for name, kind in _KINDS.items()}


class FeatureStoreOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """What ``feature_store.yaml`` says under ``online_store``."""

    type: Literal["feature_store.feast.FeatureStoreOnlineStore"] = "feature_store.feast.FeatureStoreOnlineStore"

    url: str = "embedded:data/online_store.redb"
    """The store: ``redis://host:6379``, ``aerospike://host:3000/features``, ``embedded:path``."""

    settings: str | None = None
    """Instead of ``url`` a settings file, which describes several stores."""

    key_ttl_seconds: float | None = None
    """After how many seconds records are gone, counted from their last write; None is never."""

    honour_ttl: bool = True
    """Whether features older than their view's ``ttl`` are withheld."""

    deadline_seconds: float | None = None
    """How long a call may take; None is 5 s."""


class FeatureStoreOnlineStore(OnlineStore):  # type: ignore[misc]
    """Feast's interface to an online store, over one of ``feature_store``."""

    def __init__(self) -> None:
        self._opened: tuple[tuple[Any, ...], OnlineStoreBackend] | None = None

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        return SupportedAsyncMethods(read=True, write=True)

    def _is_versioned_read_supported(self) -> bool:
        return True

    def _store(self, config: RepoConfig) -> OnlineStoreBackend:
        own = config.online_store
        named = (own.url, own.settings, own.deadline_seconds)
        if self._opened is None or self._opened[0] != named:
            if own.settings is not None:
                store: OnlineStoreBackend = _stores.open_settings(own.settings, deadline_seconds=own.deadline_seconds)
            else:
                store = _stores.open(own.url, deadline_seconds=own.deadline_seconds)
            self._opened = (named, store)
        return self._opened[1]

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: _Rows, progress: Callable[[int], Any] | None
    ) -> None:
        store, ttl = self._store(config).sync, config.online_store.key_ttl_seconds
        _wait(lambda: store.batch_write(config.project, _view(config, table), map(_record, data), ttl))
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: RepoConfig, table: FeatureView, data: _Rows, progress: Callable[[int], Any] | None
    ) -> None:
        ttl = config.online_store.key_ttl_seconds
        await self._store(config).batch_write(config.project, _view(config, table), map(_record, data), ttl)
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKeyProto],
        requested_features: list[str] | None = None,
    ) -> _Found:
        names, kinds = _wanted(table, requested_features)
        keys = [_key(key) for key in entity_keys]
        store, view, max_age = self._store(config).sync, _view(config, table), _max_age(config, table)
        rows = _wait(lambda: store.batch_read(config.project, view, keys, names, max_age_seconds=max_age))
        return [_found(row, kinds) for row in rows]

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKeyProto],
        requested_features: list[str] | None = None,
    ) -> _Found:
        names, kinds = _wanted(table, requested_features)
        keys = [_key(key) for key in entity_keys]
        rows = await self._store(config).batch_read(
            config.project, _view(config, table), keys, names, max_age_seconds=_max_age(config, table)
        )
        return [_found(row, kinds) for row in rows]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        store = self._store(config).sync
        for table in tables_to_delete:
            for view in _views(config, table):
                _wait(functools.partial(store.purge, config.project, view))

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        self.update(config, tables, [], entities, [], False)
        store = self._store(config).sync
        _wait(store.close)
        self._opened = None

    async def close(self) -> None:
        if self._opened is not None:
            _, store = self._opened
            self._opened = None
            await store.close()


def _wait(call: Callable[[], _Result]) -> _Result:
    """The result of a blocking call. Where an event loop runs, which Feast's blocking methods stop in any case, another
    thread makes it."""
    if asyncio._get_running_loop() is None:
        return call()
    with ThreadPoolExecutor(1) as other:
        return other.submit(call).result()


def _view(config: RepoConfig, table: FeatureView) -> str:
    """The view of a feature view: of each version its own, where the registry keeps versions apart."""
    name: str = table.name
    if not getattr(config.registry, "enable_online_feature_view_versioning", False):
        return name
    version = getattr(table.projection, "version_tag", None)
    if version is None:
        version = getattr(table, "current_version_number", None)
    return f"{name}_v{version}" if version else name


def _views(config: RepoConfig, table: FeatureView) -> list[str]:
    """The views of all versions of a feature view."""
    versions = getattr(table, "current_version_number", None) or 0
    older = [f"{table.name}_v{version}" for version in range(1, versions + 1)]
    return [table.name, *(older if _view(config, table) != table.name else [])]


def _max_age(config: RepoConfig, table: FeatureView) -> float | None:
    ttl = getattr(table, "ttl", None)
    if not config.online_store.honour_ttl or not ttl:
        return None
    seconds: float = ttl.total_seconds()
    return seconds


def _wanted(table: FeatureView, requested: list[str] | None) -> tuple[list[str], dict[str, str | None]]:
    """The features to read, and which field of Feast's value each is; None for one that Feast encodes."""
    types = {field.name: _KINDS.get(field.dtype.to_value_type().name) for field in table.features}
    names = list(requested) if requested else list(types)
    return names, {name: types.get(name) for name in names}


def _key(key: EntityKeyProto) -> dict[str, str | int]:
    return {name: _join_value(value) for name, value in zip(key.join_keys, key.entity_values)}


def _join_value(value: ValueProto) -> str | int:
    kind = value.WhichOneof("val")
    if kind in ("string_val", "int64_val", "int32_val", "unix_timestamp_val"):
        plain: str | int = getattr(value, kind)
        return plain
    return f"{kind}:{value.SerializeToString(deterministic=True).hex()}"


def _record(row: tuple[EntityKeyProto, dict[str, ValueProto], datetime, datetime | None]) -> tuple[Any, Any, datetime]:
    key, values, timestamp, _ = row
    return _key(key), {name: _from_proto(value) for name, value in values.items()}, timestamp


def _from_proto(value: ValueProto) -> Any:
    kind = value.WhichOneof("val")
    if kind is None or kind == "null_val":
        return None
    if kind == "unix_timestamp_val":
        return np.datetime64(value.unix_timestamp_val, "s")
    if kind in _PLAIN:
        plain = getattr(value, kind)
        return _NUMPY[kind](plain) if kind in _NUMPY else plain
    if kind in _LISTS:
        elements = list(getattr(value, kind).val)
        # Elements of numpy's own texts and bytes lose what is zero at their end.
        return (
            elements if elements and kind in ("bytes_list_val", "string_list_val") else np.array(elements, _LISTS[kind])
        )
    return value.SerializeToString()


def _to_proto(value: Any, kind: str | None) -> ValueProto:
    if value is None:
        return ValueProto()
    if kind is None:
        encoded: ValueProto = ValueProto.FromString(value)
        return encoded
    if kind == "unix_timestamp_val":
        return ValueProto(unix_timestamp_val=_seconds(value))
    if kind in _PLAIN:
        return ValueProto(**{kind: value})
    own = ValueProto()
    elements = map(_seconds, value) if kind == "unix_timestamp_list_val" else value
    field = getattr(own, kind)
    field.val.extend(elements)
    # An empty list is there, too.
    field.SetInParent()
    return own


def _seconds(time: datetime) -> int:
    return int((time - _EPOCH).total_seconds())


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _found(
    row: FeatureRow | None, kinds: dict[str, str | None]
) -> tuple[datetime | None, dict[str, ValueProto] | None]:
    if row is None:
        return None, None
    features = {name: _to_proto(value, kinds[name]) for name, value in row["features"].items()}
    return datetime.fromisoformat(row["timestamp"]), features
