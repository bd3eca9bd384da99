"""The service of the guide, as FastAPI serves it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import feature_store
import numpy as np
import pytest
from httpx import ASGITransport, AsyncClient

GUIDE = Path(__file__).parents[3] / "docs" / "python.md"
FEATURES = ["orders", "spend"]


class Model:
    def predict(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return rows.sum(axis=1)


def service(host: str, port: int) -> dict[str, Any]:
    section = GUIDE.read_text(encoding="utf-8").split("## With FastAPI", 1)[1].split("\n## ", 1)[0]
    code = "\n".join(re.findall(r"```python\n(.*?)```", section, re.S))
    placed = code.replace('RedisOnlineStore("localhost")', f"RedisOnlineStore({host!r}, {port})")
    assert placed != code
    names: dict[str, Any] = {"FEATURES": FEATURES, "model": Model()}
    exec(compile(placed, "service", "exec"), names)
    return names


def test_the_guide_s_service_answers_many_at_once(redis_server: Any) -> None:
    with feature_store.RedisOnlineStore(redis_server.host, redis_server.port).sync as own:
        rows = [({"customer_id": f"c{n}"}, {"orders": n, "spend": 0.5}) for n in range(200)]
        own.batch_write("acme", "customers", rows)
    names = service(redis_server.host, redis_server.port)
    app, store = names["app"], names["store"]

    async def run() -> None:
        transport = ASGITransport(app)
        async with app.router.lifespan_context(app), AsyncClient(transport=transport, base_url="http://own") as client:
            answers = await asyncio.gather(*(client.get(f"/score/c{n}") for n in range(200)))
            assert [answer.json() for answer in answers] == [{"score": n + 0.5} for n in range(200)]
        with pytest.raises(feature_store.UnavailableError, match="closed"):
            await store.read_features("acme", "customers", {"customer_id": "c1"})

    asyncio.run(run())
