"""The stores, for code that waits."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from . import _arguments as _args
from ._arguments import EntityKey, EntityKeys, Extra, LoadOptions, Mode, Progress, Record
from ._results import FeatureRow, LoadReport, WriteReport
from ._table import FeatureTable

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._native import SyncStore as Store

_Own = TypeVar("_Own", bound="SyncStore")


class SyncStore:
    """A store whose methods wait: the ``sync`` of one of the classes of ``feature_store``.

    The interpreter's lock is free meanwhile. In a thread where an event loop runs they raise ``RuntimeError`` instead
    of stopping it, except in a notebook.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def write_features(
        self,
        tenant_id: str,
        feature_view: str,
        entity_key: EntityKey,
        features: Mapping[str, Any],
        timestamp: datetime | None = None,
        ttl_seconds: float | None = None,
        *,
        mode: Mode = "merge",
    ) -> bool:
        """Like :meth:`OnlineStoreBackend.write_features`, but waits."""
        return self._store.write_features(tenant_id, feature_view, entity_key, features, timestamp, ttl_seconds, mode)

    def read_features(
        self,
        tenant_id: str,
        feature_view: str,
        entity_key: EntityKey,
        feature_names: Sequence[str] | None = None,
        *,
        include: Collection[Extra] = (),
        max_age_seconds: float | None = None,
    ) -> FeatureRow | None:
        """Like :meth:`OnlineStoreBackend.read_features`, but waits."""
        return self._store.read_features(
            tenant_id, feature_view, entity_key, feature_names, _args.included(include), max_age_seconds
        )

    def batch_write(
        self,
        tenant_id: str,
        feature_view: str,
        records: Iterable[Record],
        ttl_seconds: float | None = None,
        *,
        mode: Mode = "merge",
    ) -> int:
        """Like :meth:`OnlineStoreBackend.batch_write`, but waits."""
        written = self._store.batch_write(tenant_id, feature_view, records, ttl_seconds, mode, False)
        assert isinstance(written, int)
        return written

    def batch_write_report(
        self,
        tenant_id: str,
        feature_view: str,
        records: Iterable[Record],
        ttl_seconds: float | None = None,
        *,
        mode: Mode = "merge",
    ) -> WriteReport:
        """Like :meth:`OnlineStoreBackend.batch_write_report`, but waits."""
        report = self._store.batch_write(tenant_id, feature_view, records, ttl_seconds, mode, True)
        assert isinstance(report, WriteReport)
        return report

    def batch_read(
        self,
        tenant_id: str,
        feature_view: str,
        entity_keys: EntityKeys,
        feature_names: Sequence[str] | None = None,
        *,
        include: Collection[Extra] = (),
        max_age_seconds: float | None = None,
    ) -> list[FeatureRow | None]:
        """Like :meth:`OnlineStoreBackend.batch_read`, but waits."""
        return self._store.batch_read(
            tenant_id, feature_view, entity_keys, feature_names, _args.included(include), max_age_seconds
        )

    def read_table(
        self,
        tenant_id: str,
        feature_view: str,
        entity_keys: EntityKeys,
        feature_names: Sequence[str] | None = None,
        *,
        max_age_seconds: float | None = None,
    ) -> FeatureTable:
        """Like :meth:`OnlineStoreBackend.read_table`, but waits."""
        return FeatureTable(
            self._store.read_table(tenant_id, feature_view, entity_keys, feature_names, max_age_seconds)
        )

    def write_table(
        self,
        tenant_id: str,
        feature_view: str,
        table: Any,
        *,
        progress: Progress | bool | None = None,
        **options: Unpack[LoadOptions],
    ) -> LoadReport:
        """Like :meth:`OnlineStoreBackend.write_table`, but waits."""
        asked = _args.load_options(None, **options)
        own = _args.as_table(table, options.get("entity"))
        return self._store.write_table(tenant_id, feature_view, own, asked, _args.as_progress(progress))

    def ingest(
        self,
        tenant_id: str,
        feature_view: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        format: str | None = None,
        progress: Progress | bool | None = None,
        **options: Unpack[LoadOptions],
    ) -> LoadReport:
        """Like :meth:`OnlineStoreBackend.ingest`, but waits."""
        asked = _args.load_options(format, **options)
        names = _args.file_names(files)
        return self._store.ingest(tenant_id, feature_view, names, asked, _args.as_progress(progress))

    def scan(
        self, tenant_id: str, feature_view: str | None = None, *, batch_rows: int = 1000
    ) -> Iterator[FeatureTable]:
        """Like :meth:`OnlineStoreBackend.scan`, but waits."""
        scan = self._store.scan(tenant_id, feature_view, batch_rows)
        while (table := scan.next()) is not None:
            yield FeatureTable(table)

    def delete(self, tenant_id: str, feature_view: str, entity_keys: EntityKeys) -> list[bool]:
        """Like :meth:`OnlineStoreBackend.delete`, but waits."""
        return self._store.delete(tenant_id, feature_view, entity_keys)

    def purge(self, tenant_id: str, feature_view: str | None = None) -> int:
        """Like :meth:`OnlineStoreBackend.purge`, but waits."""
        return self._store.purge(tenant_id, feature_view)

    def check(self) -> dict[str, Any]:
        """Like :meth:`OnlineStoreBackend.check`, but waits."""
        return self._store.check()

    def connect(self) -> None:
        """Like :meth:`OnlineStoreBackend.connect`, but waits."""
        self._store.connect()

    def close(self) -> None:
        """Like :meth:`OnlineStoreBackend.close`, but waits."""
        self._store.close()

    def __enter__(self: _Own) -> _Own:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._store.describe()}>"


class SyncUnifiedStore(SyncStore):
    """The ``sync`` of a :class:`~feature_store.UnifiedFeatureStore`."""

    def read(
        self,
        tenant_id: str,
        *,
        entities: EntityKeys,
        service: str | None = None,
        features: Sequence[str] | None = None,
        max_age_seconds: float | None = None,
        full_feature_names: bool = False,
    ) -> FeatureTable:
        """Like :meth:`UnifiedFeatureStore.read`, but waits."""
        return FeatureTable(
            self._store.read(tenant_id, service, features, entities, max_age_seconds, full_feature_names)
        )

    def migrations(self) -> list[dict[str, Any]]:
        """Like :meth:`UnifiedFeatureStore.migrations`, but waits."""
        return self._store.migrations()
