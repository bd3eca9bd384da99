"""Every example of the published interface runs as it stands, on every kind of store."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, List, Optional, Tuple

import feature_store
import pytest
from feature_store import OnlineStoreBackend

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "python.md"
# The description itself, where a copy of it is beside the repository.
PUBLISHED = ROOT.parent / "shared" / "reference" / "interface.md"


def parses(text: str) -> ast.Module | None:
    try:
        return ast.parse("async def block():\n" + textwrap.indent(text, "    ") + "\n    pass")
    except SyntaxError:
        return None


def blocks(text: str) -> list[str]:
    """The longest runs of lines that are Python, of a text that has code among its prose."""
    lines = text.replace("\xa0", " ").splitlines()
    found, at = [], 0
    while at < len(lines):
        ends = [end for end in range(len(lines), at, -1) if parses("\n".join(lines[at:end])) is not None]
        if ends and lines[at].strip():
            found.append("\n".join(lines[at : ends[0]]).strip("\n"))
            at = ends[0]
        else:
            at += 1
    return found


def of_guide() -> str:
    """The section of the guide that quotes the examples, without its fences."""
    section = GUIDE.read_text(encoding="utf-8").split("## The reference interface", 1)[1].split("\n## ", 1)[0]
    # With a line between them that is not Python.
    return "\n\nand then\n\n".join(re.findall(r"```python\n(.*?)```", section, re.S))


SOURCES = [pytest.param(of_guide, id="guide")]
if PUBLISHED.is_file():
    SOURCES.append(pytest.param(lambda: PUBLISHED.read_text(encoding="utf-8"), id="published"))


@pytest.fixture(params=SOURCES)
def examples(request: pytest.FixtureRequest) -> list[str]:
    return blocks(request.param())


async def run(code: str, names: dict[str, Any]) -> None:
    body = ["async def block():", textwrap.indent(code, "    "), "    return locals()"]
    scope = dict(names)
    exec(compile("\n".join(body), "example", "exec"), scope)
    names.update(await scope["block"]())


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_the_examples_run_as_they_stand(examples: list[str], store: OnlineStoreBackend) -> None:
    calls = [block for block in examples if "await " in block]
    text = "\n".join(calls)
    for method in ("write_features", "read_features", "batch_write", "batch_read"):
        assert f".{method}(" in text

    async def all_of_them() -> dict[str, Any]:
        names: dict[str, Any] = {"store": store, "datetime": datetime}
        # What is asked for must not come from an earlier run.
        await store.purge("acme-corp")
        for block in calls:
            await run(block, names)
        return names

    names = asyncio.run(all_of_them())
    assert names["written"] == 2
    assert [row["features"] for row in names["results"]] == [{"purchases": 10}, {"purchases": 25}]
    assert [row["entity_key"] for row in names["results"]] == names["entity_keys"]
    shown = re.search(r"# (\{\"features\".*\})", text)
    assert shown is not None
    expected, result = eval(shown[1]), names["result"]
    assert result["features"] == expected["features"]
    assert set(result) == set(expected)
    assert result["entity_key"] == {"customer_id": "cust-123"}
    assert abs(datetime.fromisoformat(result["timestamp"]) - datetime.now(timezone.utc)).total_seconds() < 60


def test_the_classes_are_made_as_described(examples: list[str]) -> None:
    described = [block for block in examples if block.startswith("class ")]
    assert len(described) == 2
    for block in described:
        scope: dict[str, Any] = {"OnlineStoreBackend": object, "List": List, "Optional": Optional, "Tuple": Tuple}
        exec(block, scope)
        name = block.split()[1].split("(")[0]
        own = inspect.signature(getattr(feature_store, name).__init__).parameters
        assert issubclass(getattr(feature_store, name), feature_store.OnlineStoreBackend)
        wanted = inspect.signature(scope[name].__init__).parameters
        assert list(own)[: len(wanted)] == list(wanted)
        assert [own[key].default for key in wanted] == [each.default for each in wanted.values()]


def test_keys_of_aerospike_are_those_of_the_published_layout(examples: list[str]) -> None:
    described = next(block for block in examples if block.startswith("def _build_key("))
    scope: dict[str, Any] = {}
    exec(described, scope)
    store = feature_store.AerospikeOnlineStore(hosts=[("localhost", 3000)], namespace="ns")
    for key in ({"customer_id": "cust-123"}, {"b": "2", "a": 1}):
        place = ("acme-corp", "customer_features", key)
        assert store._build_key(*place) == scope["_build_key"](store, *place)
    # What could be mistaken is encoded, and options are heeded.
    assert store._build_key("a_b", "v", {"id": "1|c=2"}) == ("ns", "a%5Fb_v", "id=1%7Cc=2")
    single = feature_store.AerospikeOnlineStore(namespace="ns", layout="single", set="all")
    assert single._build_key("t", "v", {"id": 1}) == ("ns", "all", "t:v:id=1")
    with pytest.raises(feature_store.InvalidArgumentError, match="tenant"):
        store._build_key("", "v", {"id": 1})


def test_keys_of_redis_are_those_of_the_published_layout(redis_server: Any, examples: list[str]) -> None:
    import redis

    key = next(line for block in examples for line in block.splitlines() if line.startswith("# Example: "))
    store = feature_store.RedisOnlineStore(host=redis_server.host, port=redis_server.port).sync
    store.write_features("acme-corp", "customer_features", {"customer_id": "cust-123"}, {"a": 1})
    client = redis.Redis(host=redis_server.host, port=redis_server.port)
    assert client.exists(key.removeprefix("# Example: ").strip()) == 1


def test_expired_records_are_not_read(store: OnlineStoreBackend, tenant: str) -> None:
    import time

    key = {"customer_id": "c1"}
    store.sync.write_features(tenant, "v", key, {"a": 1}, ttl_seconds=0.05)
    store.sync.write_features(tenant, "v", {"customer_id": "c2"}, {"a": 1}, ttl_seconds=60)
    time.sleep(0.06)
    assert store.sync.read_features(tenant, "v", key) is None
    assert store.sync.read_features(tenant, "v", {"customer_id": "c2"}) is not None
