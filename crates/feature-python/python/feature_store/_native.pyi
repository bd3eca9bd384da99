from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, final, type_check_only

from ._arguments import ArrowStream, EntityKey, EntityKeys, Progress, Record
from ._results import FeatureRow, LoadReport, WriteReport
from .errors import FeatureStoreError

__all__ = ["Scan", "Store", "Table", "run_program", "store_url"]

@type_check_only
class Include(TypedDict):
    statuses: bool
    event_times: bool

@type_check_only
class Load(TypedDict):
    entity: list[str]
    timestamp: str | None
    timestamp_unit: str | None
    features: list[str] | None
    exclude: list[str]
    ttl_seconds: float | None
    decimals: str
    format: str | None
    batch_size: int
    concurrency: int
    now: datetime | None

@final
class Store:
    @staticmethod
    def of_url(url: str, views: str | None = None, deadline: float | None = None) -> Store: ...
    @staticmethod
    def of_file(path: str, deadline: float | None = None) -> Store: ...
    @staticmethod
    def of_settings(text: str, deadline: float | None = None) -> Store: ...
    def sync(self) -> SyncStore: ...
    def write_features(
        self,
        tenant_id: str,
        feature_view: str,
        entity_key: EntityKey,
        features: Mapping[str, Any],
        timestamp: datetime | None,
        ttl_seconds: float | None,
        mode: str,
    ) -> Awaitable[bool]: ...
    def batch_write(
        self,
        tenant_id: str,
        feature_view: str,
        records: Iterable[Record],
        ttl_seconds: float | None,
        mode: str,
        report: bool,
    ) -> Awaitable[int | WriteReport]: ...
    def read_features(
        self,
        tenant_id: str,
        feature_view: str,
        entity_key: EntityKey,
        feature_names: Sequence[str] | None,
        include: Include,
        max_age_seconds: float | None,
    ) -> Awaitable[FeatureRow | None]: ...
    def batch_read(
        self,
        tenant_id: str,
        feature_view: str,
        entity_keys: EntityKeys,
        feature_names: Sequence[str] | None,
        include: Include,
        max_age_seconds: float | None,
    ) -> Awaitable[list[FeatureRow | None]]: ...
    def read_table(
        self,
        tenant_id: str,
        feature_view: str,
        entity_keys: EntityKeys,
        feature_names: Sequence[str] | None,
        max_age_seconds: float | None,
    ) -> Awaitable[Table]: ...
    def read(
        self,
        tenant_id: str,
        service: str | None,
        features: Sequence[str] | None,
        entities: EntityKeys,
        max_age_seconds: float | None,
        full_feature_names: bool,
    ) -> Awaitable[Table]: ...
    def write_table(
        self,
        tenant_id: str,
        feature_view: str,
        table: ArrowStream | dict[str, Any],
        wanted: Load,
        progress: Progress | None,
    ) -> Awaitable[LoadReport]: ...
    def ingest(
        self, tenant_id: str, feature_view: str, names: list[str], wanted: Load, progress: Progress | None
    ) -> Awaitable[LoadReport]: ...
    def scan(self, tenant_id: str, feature_view: str | None, batch_rows: int) -> Scan: ...
    def delete(self, tenant_id: str, feature_view: str, entity_keys: EntityKeys) -> Awaitable[list[bool]]: ...
    def purge(self, tenant_id: str, feature_view: str | None) -> Awaitable[int]: ...
    def check(self) -> Awaitable[dict[str, Any]]: ...
    def migrations(self) -> Awaitable[list[dict[str, Any]]]: ...
    def connect(self) -> Awaitable[None]: ...
    def close(self) -> Awaitable[None]: ...
    def describe(self) -> str: ...
    def aerospike_key(self, tenant_id: str, feature_view: str, entity_key: EntityKey) -> tuple[str, str, str]: ...
    def time_reads(
        self,
        tenant_id: str,
        feature_view: str,
        entity_keys: EntityKeys,
        feature_names: Sequence[str] | None,
        times: int,
    ) -> list[float]: ...

@final
class Scan:
    def next(self) -> Awaitable[Table | None]: ...

@type_check_only
class SyncScan:
    def next(self) -> Table | None: ...

@type_check_only
class SyncStore:
    def write_features(
        self,
        tenant_id: str,
        feature_view: str,
        entity_key: EntityKey,
        features: Mapping[str, Any],
        timestamp: datetime | None,
        ttl_seconds: float | None,
        mode: str,
    ) -> bool: ...
    def batch_write(
        self,
        tenant_id: str,
        feature_view: str,
        records: Iterable[Record],
        ttl_seconds: float | None,
        mode: str,
        report: bool,
    ) -> int | WriteReport: ...
    def read_features(
        self,
        tenant_id: str,
        feature_view: str,
        entity_key: EntityKey,
        feature_names: Sequence[str] | None,
        include: Include,
        max_age_seconds: float | None,
    ) -> FeatureRow | None: ...
    def batch_read(
        self,
        tenant_id: str,
        feature_view: str,
        entity_keys: EntityKeys,
        feature_names: Sequence[str] | None,
        include: Include,
        max_age_seconds: float | None,
    ) -> list[FeatureRow | None]: ...
    def read_table(
        self,
        tenant_id: str,
        feature_view: str,
        entity_keys: EntityKeys,
        feature_names: Sequence[str] | None,
        max_age_seconds: float | None,
    ) -> Table: ...
    def read(
        self,
        tenant_id: str,
        service: str | None,
        features: Sequence[str] | None,
        entities: EntityKeys,
        max_age_seconds: float | None,
        full_feature_names: bool,
    ) -> Table: ...
    def write_table(
        self,
        tenant_id: str,
        feature_view: str,
        table: ArrowStream | dict[str, Any],
        wanted: Load,
        progress: Progress | None,
    ) -> LoadReport: ...
    def ingest(
        self, tenant_id: str, feature_view: str, names: list[str], wanted: Load, progress: Progress | None
    ) -> LoadReport: ...
    def scan(self, tenant_id: str, feature_view: str | None, batch_rows: int) -> SyncScan: ...
    def delete(self, tenant_id: str, feature_view: str, entity_keys: EntityKeys) -> list[bool]: ...
    def purge(self, tenant_id: str, feature_view: str | None) -> int: ...
    def check(self) -> dict[str, Any]: ...
    def migrations(self) -> list[dict[str, Any]]: ...
    def connect(self) -> None: ...
    def close(self) -> None: ...
    def describe(self) -> str: ...

@final
class Table:
    @property
    def num_rows(self) -> int: ...
    @property
    def feature_view(self) -> str | None: ...
    @property
    def column_names(self) -> list[str]: ...
    @property
    def column_types(self) -> list[str | None]: ...
    def has_null(self, column: int) -> bool: ...
    def values(self, column: int) -> list[Any]: ...
    def statuses(self, column: int) -> list[str]: ...
    def event_times(self, column: int) -> list[datetime | None]: ...
    def entities(self) -> list[dict[str, str]]: ...
    def errors(self) -> list[tuple[int, str, str | None, FeatureStoreError]]: ...
    def from_fallback(self) -> list[tuple[str, list[int]]]: ...
    def to_dicts(self) -> list[dict[str, Any]]: ...
    def matrix(self, columns: list[int]) -> bytearray: ...
    def buffer(self, column: int) -> tuple[str, bytearray] | None: ...
    def with_entities(self, entities: bool) -> Table: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

def run_program(arguments: list[str]) -> int: ...
def store_url(
    scheme: str,
    hosts: Sequence[tuple[str, int]],
    username: str | None,
    password: str | None,
    path: str | None,
    parameters: list[tuple[str, str]],
) -> str: ...
