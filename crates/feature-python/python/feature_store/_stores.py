"""The stores, for ``asyncio``."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from . import _arguments as _args
from ._arguments import EntityKey, EntityKeys, Extra, LoadOptions, Mode, Progress, Record, Views
from ._native import Store, store_url
from ._results import FeatureRow, LoadReport, WriteReport
from ._sync import SyncStore, SyncUnifiedStore
from ._table import FeatureTable

if TYPE_CHECKING:
    from typing_extensions import Unpack

_Own = TypeVar("_Own", bound="OnlineStoreBackend")


class OnlineStoreBackend:
    """What every store can do.

    A store is connected to with its first call, so that constructors need not wait; :meth:`connect` does it at once.
    Many calls may run at a time, from any thread and event loop. Cancelling a task gives up its call. After a fork the
    child connects anew.

    Every call raises :class:`~feature_store.FeatureStoreError`, and ``InvalidArgumentError`` for arguments that cannot
    be; how long it may take is the store's ``deadline_seconds``.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sync: SyncStore | None = None

    @property
    def sync(self) -> SyncStore:
        """The same store with methods that wait, for notebooks, threads and scripts."""
        if self._sync is None:
            self._sync = SyncStore(self._store.sync())
        return self._sync

    @property
    def online_store(self: _Own) -> _Own:
        """This store, for code that was written for one that holds another."""
        return self

    async def write_features(
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
        """Write features of one entity.

        Args:
            tenant_id: Whose they are.
            feature_view: The view that they are of.
            entity_key: The entity's join keys, such as ``{"customer_id": "cust-123"}``: text or integers.
            features: Names and values: int, float, bool, str, bytes, datetime, date, Decimal where a float is exactly
                that, a list, tuple or one-dimensional array of one of these, a dict, or None: an explicit null.
            timestamp: The event time, which decides between writes; without a zone it is in UTC. None is now.
            ttl_seconds: How long the record lives from now; None is the declared view's TTL, or for ever.
            mode: ``merge`` touches the named features alone; with ``replace`` older features of the record go.

        Returns:
            Whether something of it is now part of the record: not if the store has newer features.
        """
        return await self._store.write_features(
            tenant_id, feature_view, entity_key, features, timestamp, ttl_seconds, mode
        )

    async def read_features(
        self,
        tenant_id: str,
        feature_view: str,
        entity_key: EntityKey,
        feature_names: Sequence[str] | None = None,
        *,
        include: Collection[Extra] = (),
        max_age_seconds: float | None = None,
    ) -> FeatureRow | None:
        """Read features of one entity.

        Args:
            tenant_id: Whose they are.
            feature_view: The view that they are of.
            entity_key: The entity's join keys.
            feature_names: The features wanted; None is all.
            include: ``"statuses"`` and ``"event_times"`` of each feature, if they are wanted too.
            max_age_seconds: Serve no feature older than this, by its event time.

        Returns:
            ``{"features": {...}, "timestamp": "...", "entity_key": {...}}``, or None where there is no record.
        """
        return await self._store.read_features(
            tenant_id, feature_view, entity_key, feature_names, _args.included(include), max_age_seconds
        )

    async def batch_write(
        self,
        tenant_id: str,
        feature_view: str,
        records: Iterable[Record],
        ttl_seconds: float | None = None,
        *,
        mode: Mode = "merge",
    ) -> int:
        """Write features of many entities, each ``(entity_key, features, timestamp)``.

        A row that fails does not keep another from being written: the error then has ``rows``, with the error of each
        that failed, and ``report``. See :meth:`batch_write_report` for the report without an error.

        Returns:
            How many rows the store has taken.
        """
        written = await self._store.batch_write(tenant_id, feature_view, records, ttl_seconds, mode, False)
        assert isinstance(written, int)
        return written

    async def batch_write_report(
        self,
        tenant_id: str,
        feature_view: str,
        records: Iterable[Record],
        ttl_seconds: float | None = None,
        *,
        mode: Mode = "merge",
    ) -> WriteReport:
        """The same as :meth:`batch_write`, but rows that fail raise nothing: the report tells of every row."""
        report = await self._store.batch_write(tenant_id, feature_view, records, ttl_seconds, mode, True)
        assert isinstance(report, WriteReport)
        return report

    async def batch_read(
        self,
        tenant_id: str,
        feature_view: str,
        entity_keys: EntityKeys,
        feature_names: Sequence[str] | None = None,
        *,
        include: Collection[Extra] = (),
        max_age_seconds: float | None = None,
    ) -> list[FeatureRow | None]:
        """Read features of many entities, in one round trip.

        Returns:
            A row for each entity, in order, as of :meth:`read_features`.
        """
        return await self._store.batch_read(
            tenant_id, feature_view, entity_keys, feature_names, _args.included(include), max_age_seconds
        )

    async def read_table(
        self,
        tenant_id: str,
        feature_view: str,
        entity_keys: EntityKeys,
        feature_names: Sequence[str] | None = None,
        *,
        max_age_seconds: float | None = None,
    ) -> FeatureTable:
        """Read features of many entities of one view as columns, for Arrow, numpy, pandas or polars.

        Entities that could not be read are ``errors`` of the table.
        """
        return FeatureTable(
            await self._store.read_table(tenant_id, feature_view, entity_keys, feature_names, max_age_seconds)
        )

    async def write_table(
        self,
        tenant_id: str,
        feature_view: str,
        table: Any,
        *,
        progress: Progress | bool | None = None,
        **options: Unpack[LoadOptions],
    ) -> LoadReport:
        """Write the rows of a table.

        Args:
            tenant_id: Whose they are.
            feature_view: The view that they are of.
            table: Anything with ``__arrow_c_stream__`` (pyarrow, polars, duckdb, ...), a pandas frame, or a dict of
                columns.
            progress: Called with the counts so far, several times a second; True shows a bar, if tqdm is installed.
            options: Which columns are what, and how they are written: see :class:`~feature_store.LoadOptions`.

        Returns:
            How many rows were written, and which were not, and why.
        """
        asked = _args.load_options(None, **options)
        own = _args.as_table(table, options.get("entity"))
        return await self._store.write_table(tenant_id, feature_view, own, asked, _args.as_progress(progress))

    async def ingest(
        self,
        tenant_id: str,
        feature_view: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        format: str | None = None,
        progress: Progress | bool | None = None,
        **options: Unpack[LoadOptions],
    ) -> LoadReport:
        """Write the rows of files: Parquet, Arrow, CSV and JSON, by path, pattern, folder or URL (``s3://``, ...).

        ``format`` says what they are where their names do not; all else is as for :meth:`write_table`.
        """
        asked = _args.load_options(format, **options)
        names = _args.file_names(files)
        return await self._store.ingest(tenant_id, feature_view, names, asked, _args.as_progress(progress))

    async def scan(
        self, tenant_id: str, feature_view: str | None = None, *, batch_rows: int = 1000
    ) -> AsyncIterator[FeatureTable]:
        """All records of a view, or of a tenant, in no particular order, as tables of at most ``batch_rows`` rows.

        Each table is of one view, its ``feature_view``, and has columns for the join keys and for the records' newest
        event time, too.
        """
        scan = self._store.scan(tenant_id, feature_view, batch_rows)
        while (table := await scan.next()) is not None:
            yield FeatureTable(table)

    async def delete(self, tenant_id: str, feature_view: str, entity_keys: EntityKeys) -> list[bool]:
        """Remove records at once; for each entity whether there was one."""
        return await self._store.delete(tenant_id, feature_view, entity_keys)

    async def purge(self, tenant_id: str, feature_view: str | None = None) -> int:
        """Remove all records of a view of a tenant, or of the tenant; how many there were."""
        return await self._store.purge(tenant_id, feature_view)

    async def check(self) -> dict[str, Any]:
        """How the store is: ``backend``, ``facts`` and ``warnings``."""
        return await self._store.check()

    async def connect(self) -> None:
        """Connect now, rather than with the first call."""
        await self._store.connect()

    async def close(self) -> None:
        """Make acknowledged writes durable and give connections and files back. Later calls fail."""
        await self._store.close()

    async def __aenter__(self: _Own) -> _Own:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._store.describe()}>"


def _options(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    def text(value: Any) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    return [(name, text(value)) for name, value in options.items() if value is not None]


class RedisOnlineStore(OnlineStoreBackend):
    """A store on Redis or Valkey.

    Args:
        host: The server, or a node of the cluster.
        port: Its port.
        password: Password of the user.
        db: Number of the database; a cluster has 0 alone.
        key_prefix: The prefix of every key.
        cluster_mode: Whether ``host`` is a node of a cluster.
        username: The user; None is the server's default one.
        tls: Whether connections are encrypted.
        views: Declared feature views: a YAML file, or a list of what it would have.
        deadline_seconds: How long a call may take; None is 5 s.
        options: What a ``redis:`` URL takes as parameters, such as ``connections=4``.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 6379,
        password: str | None = None,
        db: int = 0,
        key_prefix: str = "feast:",
        cluster_mode: bool = False,
        *,
        username: str | None = None,
        tls: bool = False,
        views: Views | None = None,
        deadline_seconds: float | None = None,
        **options: Any,
    ) -> None:
        path = None if cluster_mode and db == 0 else str(db)
        parameters = _options({"key_prefix": key_prefix, "cluster_mode": cluster_mode, **options})
        scheme = "rediss" if tls else "redis"
        url = store_url(scheme, [(host, port)], username, password, path, parameters)
        super().__init__(Store.of_url(url, _args.views_text(views), deadline_seconds))


class AerospikeOnlineStore(OnlineStoreBackend):
    """A store on an Aerospike cluster.

    Args:
        hosts: Some servers of the cluster; None is ``[("localhost", 3000)]``.
        namespace: The namespace, which the servers' configuration has.
        username: The user, where the servers know users.
        password: The user's password.
        views: Declared feature views: a YAML file, or a list of what it would have.
        deadline_seconds: How long a call may take; None is 5 s.
        options: What an ``aerospike:`` URL takes as parameters, such as ``max_connections=64``.
    """

    def __init__(
        self,
        hosts: Sequence[tuple[str, int]] | None = None,
        namespace: str = "features",
        username: str | None = None,
        password: str | None = None,
        *,
        views: Views | None = None,
        deadline_seconds: float | None = None,
        **options: Any,
    ) -> None:
        servers = [(host, port) for host, port in hosts or [("localhost", 3000)]]
        url = store_url("aerospike", servers, username, password, namespace, _options(options))
        super().__init__(Store.of_url(url, _args.views_text(views), deadline_seconds))
        self.namespace = namespace

    def _build_key(self, tenant_id: str, feature_view: str, entity_key: EntityKey) -> tuple[str, str, str]:
        """Where the record of an entity is: namespace, set and key. Names that could be mistaken are encoded."""
        return self._store.aerospike_key(tenant_id, feature_view, entity_key)


class EmbeddedOnlineStore(OnlineStoreBackend):
    """A store inside the process: a file, or memory.

    Args:
        path: The file, which is made if it is not there; None is a store in memory.
        views: Declared feature views: a YAML file, or a list of what it would have.
        deadline_seconds: How long a call may take; None is 5 s.
        options: What an ``embedded:`` URL takes as parameters, such as ``durability="interval"``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        views: Views | None = None,
        deadline_seconds: float | None = None,
        **options: Any,
    ) -> None:
        from urllib.parse import quote, urlencode

        url = "embedded:" + (":memory:" if path is None else quote(os.fspath(path)))
        if options:
            url += "?" + urlencode(_options(options))
        super().__init__(Store.of_url(url, _args.views_text(views), deadline_seconds))


class UnifiedFeatureStore(OnlineStoreBackend):
    """Many views, tenants and stores behind one handle, as a settings file describes them.

    Args:
        settings: The file, in YAML or TOML, or what it would have, as a dict.
        deadline_seconds: How long a call may take; None is what the settings say.
    """

    def __init__(
        self, settings: str | os.PathLike[str] | Mapping[str, Any], *, deadline_seconds: float | None = None
    ) -> None:
        if isinstance(settings, Mapping):
            store = Store.of_settings(json.dumps(settings), deadline_seconds)
        else:
            store = Store.of_file(os.fspath(settings), deadline_seconds)
        super().__init__(store)

    @property
    def sync(self) -> SyncUnifiedStore:
        """The same store with methods that wait, for notebooks, threads and scripts."""
        if not isinstance(self._sync, SyncUnifiedStore):
            self._sync = SyncUnifiedStore(self._store.sync())
        return self._sync

    async def read(
        self,
        tenant_id: str,
        *,
        entities: EntityKeys,
        service: str | None = None,
        features: Sequence[str] | None = None,
        max_age_seconds: float | None = None,
        full_feature_names: bool = False,
    ) -> FeatureTable:
        """Read what a model asks for: features of any declared views, in one round trip to each store.

        Args:
            tenant_id: Whose they are.
            entities: The rows: ``{"customer_id": [1, 2]}`` or a list of dicts. Each view takes its own join keys.
            service: A declared feature service, or
            features: features as ``"view:feature"`` or ``"view:*"``.
            max_age_seconds: Serve no feature older than this, by its event time.
            full_feature_names: Whether columns are called ``view__feature``, even where the feature's name is enough.
        """
        return FeatureTable(
            await self._store.read(tenant_id, service, features, entities, max_age_seconds, full_feature_names)
        )

    async def migrations(self) -> list[dict[str, Any]]:
        """How far the migrations between the stores are."""
        return await self._store.migrations()


def open(url: str, *, views: Views | None = None, deadline_seconds: float | None = None) -> OnlineStoreBackend:
    """The store of a URL.

    Such as ``redis://localhost:6379``, ``aerospike://localhost:3000/features`` or ``embedded:features.redb``. It is
    connected to with the first call; a wrong URL raises ``InvalidArgumentError`` at once.
    """
    return OnlineStoreBackend(Store.of_url(url, _args.views_text(views), deadline_seconds))


def open_settings(path: str | os.PathLike[str], *, deadline_seconds: float | None = None) -> UnifiedFeatureStore:
    """The stores that a settings file describes; every mistake in it is told at once."""
    return UnifiedFeatureStore(path, deadline_seconds=deadline_seconds)
