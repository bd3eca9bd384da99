"""An online feature store in the process: typed features by tenant, view and entity.

::

    from feature_store import RedisOnlineStore

    store = RedisOnlineStore(host="localhost")
    await store.write_features("acme", "customers", {"customer_id": "c1"}, {"orders": 42})
    row = await store.read_features("acme", "customers", {"customer_id": "c1"}, ["orders"])
    store.sync.read_features("acme", "customers", {"customer_id": "c1"})  # the same, blocking
"""

from ._arguments import LoadOptions
from ._results import FeatureRow, LoadReport, WriteReport
from ._stores import (
    AerospikeOnlineStore,
    EmbeddedOnlineStore,
    OnlineStoreBackend,
    RedisOnlineStore,
    UnifiedFeatureStore,
    open,
    open_settings,
)
from ._sync import SyncStore, SyncUnifiedStore
from ._table import FeatureTable
from .errors import (
    ConflictError,
    CorruptError,
    DeadlineExceededError,
    FeatureStoreError,
    InternalError,
    InvalidArgumentError,
    LimitExceededError,
    NotConfiguredError,
    PermissionDeniedError,
    ThrottledError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
)

__all__ = [
    "AerospikeOnlineStore",
    "ConflictError",
    "CorruptError",
    "DeadlineExceededError",
    "EmbeddedOnlineStore",
    "FeatureRow",
    "FeatureStoreError",
    "FeatureTable",
    "InternalError",
    "InvalidArgumentError",
    "LimitExceededError",
    "LoadOptions",
    "LoadReport",
    "NotConfiguredError",
    "OnlineStoreBackend",
    "PermissionDeniedError",
    "RedisOnlineStore",
    "SyncStore",
    "SyncUnifiedStore",
    "ThrottledError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnifiedFeatureStore",
    "UnsupportedError",
    "WriteReport",
    "open",
    "open_settings",
]
