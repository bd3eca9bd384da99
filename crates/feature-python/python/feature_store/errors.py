"""What can go wrong: a class for each kind of failure, named for what the caller can do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._results import LoadReport, WriteReport

__all__ = [
    "ConflictError",
    "CorruptError",
    "DeadlineExceededError",
    "FeatureStoreError",
    "InternalError",
    "InvalidArgumentError",
    "LimitExceededError",
    "NotConfiguredError",
    "PermissionDeniedError",
    "ThrottledError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
]


class FeatureStoreError(Exception):
    """A call that failed.

    Attributes:
        kind: The kind of failure: the class's name without ``Error``.
        in_doubt: Whether a write may have taken effect although it failed. Writing again is safe.
        retryable: Whether the same call may succeed later.
        retry_after: After how many seconds it is likely to, where that is known.
        operation: What was done: ``read``, ``write``, ...
        backend: The backend that failed, such as ``redis``.
        key: The record, or the tenant and view, that the failure concerns.
        rows: Of a batch, the errors by the number of their row; of a single call, none.
        report: Of a batch write or a load, what became of every row.
    """

    kind: str
    in_doubt: bool
    retryable: bool
    retry_after: float | None
    operation: str | None
    backend: str | None
    key: str | None
    rows: dict[int, FeatureStoreError]
    report: WriteReport | LoadReport | None

    def __init__(
        self,
        message: str = "",
        *,
        kind: str | None = None,
        in_doubt: bool = False,
        retryable: bool = False,
        retry_after: float | None = None,
        operation: str | None = None,
        backend: str | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind or type(self).__name__.removesuffix("Error")
        self.in_doubt = in_doubt
        self.retryable = retryable
        self.retry_after = retry_after
        self.operation = operation
        self.backend = backend
        self.key = key
        self.rows = {}
        self.report = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self.args, self.__dict__)


class InvalidArgumentError(FeatureStoreError, ValueError):
    """The call is wrong in itself: correct it."""


class LimitExceededError(FeatureStoreError, ValueError):
    """A limit of the backend or of the format is exceeded: send less, or raise the limit."""


class UnsupportedError(FeatureStoreError):
    """This backend cannot do it: use another, or do without."""


class NotConfiguredError(FeatureStoreError):
    """The server lacks a setting that the call needs: change the server's configuration."""


class UnauthenticatedError(FeatureStoreError):
    """The server does not accept the credentials: correct them."""


class PermissionDeniedError(FeatureStoreError):
    """The credentials lack a right: grant it."""


class ThrottledError(FeatureStoreError):
    """The server is overloaded, full or limiting this caller: slow down."""


class UnavailableError(FeatureStoreError):
    """The store cannot be reached or is closed: wait, or use another."""


class DeadlineExceededError(FeatureStoreError, TimeoutError):
    """The call's deadline passed before an answer came."""


class ConflictError(FeatureStoreError):
    """Other writers kept getting in first: try later."""


class CorruptError(FeatureStoreError):
    """Stored bytes cannot be what they claim to be: restore or rewrite the record."""


class InternalError(FeatureStoreError):
    """A defect of this software or of the store's: report it."""
