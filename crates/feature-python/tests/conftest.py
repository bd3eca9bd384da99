"""What tests share: servers, and a store of each kind."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import feature_store
import pytest
from feature_store import OnlineStoreBackend

sys.path.insert(0, str(Path(__file__).parent))

import aerospike_server
import servers

_numbers = itertools.count()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def aerospike(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with aerospike_server.start(tmp_path_factory.mktemp("aerospike")) as server:
        yield server


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test uses, so that tests can share a server."""
    return f"tenant-{next(_numbers)}"


def make(kind: str, request: pytest.FixtureRequest) -> OnlineStoreBackend:
    if kind == "embedded":
        return feature_store.EmbeddedOnlineStore()
    if kind == "redis":
        server = request.getfixturevalue("redis_server")
        return feature_store.RedisOnlineStore(host=server.host, port=server.port)
    if kind == "aerospike":
        server = request.getfixturevalue("aerospike")
        return feature_store.AerospikeOnlineStore(hosts=[(server.host, server.port)])
    settings = {"stores": {"main": {"url": "embedded::memory:"}}, "default": {"store": "main"}}
    return feature_store.UnifiedFeatureStore(settings)


@pytest.fixture(params=["embedded", "redis", "aerospike", "unified"])
def store(request: pytest.FixtureRequest) -> Iterator[OnlineStoreBackend]:
    """A store of each kind."""
    own = make(request.param, request)
    yield own
    own.sync.close()


@pytest.fixture
def memory() -> Iterator[OnlineStoreBackend]:
    """A store in memory."""
    own = feature_store.EmbeddedOnlineStore()
    yield own
    own.sync.close()


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write
