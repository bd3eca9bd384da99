"""What the package costs, against Feast's SDK, redis-py and the Rust library, on one Redis, in one run.

Run by `cargo xtask bench python`. Every figure is a median; ratios are what to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import feature_store
import numpy as np
import pandas as pd
import redis
import servers

FEATURES = [f"feature_{n:02}" for n in range(50)]
ENTITIES = 100
NOW = datetime.now(timezone.utc)


def median(call: Callable[[], Any], rounds: int) -> float:
    """Seconds of a call, after a few that do not count."""
    for _ in range(max(3, rounds // 10)):
        call()
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def median_awaited(make: Callable[[], Any], rounds: int) -> float:
    async def run() -> float:
        seconds = []
        for _ in range(rounds + rounds // 10 + 3):
            begun = time.perf_counter()
            await make()
            seconds.append(time.perf_counter() - begun)
        return statistics.median(seconds[-rounds:])

    return asyncio.run(run())


def frame(rows: int) -> pd.DataFrame:
    values = np.random.default_rng(1).random((rows, len(FEATURES)))
    own = pd.DataFrame(values, columns=FEATURES)
    own.insert(0, "customer_id", np.arange(rows))
    own["event_timestamp"] = pd.Timestamp(NOW).tz_convert("UTC").as_unit("us")
    return own


class Feast:
    """Feast's SDK with its own online store on Redis."""

    def __init__(self, folder: Path, server: servers.Server) -> None:
        from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
        from feast.types import Float64

        config = RepoConfig(
            project="bench",
            registry=str(folder / "registry.db"),
            provider="local",
            online_store={"type": "redis", "connection_string": f"{server.host}:{server.port}"},
            entity_key_serialization_version=3,
        )
        self.store = FeatureStore(config=config)
        path = folder / "rows.parquet"
        frame(ENTITIES).to_parquet(path)
        entity = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
        view = FeatureView(
            name="customers",
            entities=[entity],
            ttl=timedelta(days=365),
            schema=[Field(name=name, dtype=Float64) for name in FEATURES],
            source=FileSource(path=str(path), timestamp_field="event_timestamp"),
        )
        self.store.apply([entity, view])
        self.store.write_to_online_store("customers", frame(ENTITIES))
        self.references = [f"customers:{name}" for name in FEATURES]

    def read(self, entities: int) -> dict[str, Any]:
        rows = [{"customer_id": n} for n in range(entities)]
        answer: dict[str, Any] = self.store.get_online_features(features=self.references, entity_rows=rows).to_dict()
        return answer

    def write(self, own: pd.DataFrame) -> None:
        self.store.write_to_online_store("customers", own)


def import_seconds() -> float:
    """What importing the package adds to the start of Python."""

    def start(code: str) -> Callable[[], Any]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    return median(start("import feature_store"), 15) - median(start("pass"), 15)


def ingest_seconds(folder: Path, server: servers.Server, own: pd.DataFrame) -> float:
    """What the library's own program takes to load the same rows from a Parquet file."""
    path = folder / "load.parquet"
    own.to_parquet(path)
    program = Path(sys.executable).with_name("fstore")
    arguments = ["--store", f"redis://{server.host}:{server.port}", "--tenant", "acme", "--view", "ingested"]
    columns = ["--entity", "customer_id", "--timestamp", "event_timestamp", "--format", "ndjson"]
    begun = time.perf_counter()
    subprocess.run(
        [program, "ingest", path, *arguments, *columns],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begun


def freedom() -> float:
    """How much of its speed another thread keeps while a call waits for a server that does not answer."""
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen()
    store = feature_store.RedisOnlineStore("127.0.0.1", silent.getsockname()[1], connect_timeout="500ms")

    def speed_beside(call: Callable[[], Any]) -> float:
        turns, done = 0, threading.Event()

        def work() -> None:
            nonlocal turns
            while not done.is_set():
                turns += 1

        other = threading.Thread(target=work)
        begun = time.perf_counter()
        other.start()
        call()
        done.set()
        other.join()
        return turns / (time.perf_counter() - begun)

    def waits() -> None:
        try:
            store.sync.read_features("t", "v", {"id": 1})
        except feature_store.FeatureStoreError:
            pass

    pairs = [(speed_beside(waits), speed_beside(lambda: time.sleep(0.5))) for _ in range(5)]
    return statistics.median(own / alone for own, alone in pairs)


def measure(folder: Path, server: servers.Server, quick: bool, wheel: Path) -> dict[str, float]:
    rounds = 30 if quick else 400
    few = 10 if quick else 60
    store = feature_store.RedisOnlineStore(server.host, server.port)
    store.sync.write_table("acme", "customers", frame(ENTITIES), entity="customer_id", timestamp="event_timestamp")
    keys = [{"customer_id": n} for n in range(ENTITIES)]
    batch = ("acme", "customers", keys, FEATURES)
    one = ("acme", "customers", keys[0], FEATURES)
    assert len(store.sync.batch_read(*batch)) == ENTITIES
    client = redis.Redis(server.host, server.port)
    name = "feast:acme:customers:customer_id=0"
    stored = client.get(name)
    assert stored is not None

    found: dict[str, float] = {}
    found["read 100 to dicts"] = median(lambda: store.sync.batch_read(*batch), rounds)
    found["read 100 to dicts, awaited"] = median_awaited(lambda: store.batch_read(*batch), rounds)
    found["read 100 to Arrow"] = median(lambda: store.sync.read_table(*batch).to_arrow(), rounds)
    found["read 100 to numpy"] = median(lambda: store.sync.read_table(*batch).to_numpy(), rounds)
    found["read 100 to pandas"] = median(lambda: store.sync.read_table(*batch).to_pandas(), rounds // 4)
    found["read 100, the Rust library"] = statistics.median(store._store.time_reads(*batch, rounds))
    found["read 1"] = median(lambda: store.sync.read_features(*one), rounds)
    found["read 1, awaited"] = median_awaited(lambda: store.read_features(*one), rounds)
    found["read 1, the Rust library"] = statistics.median(
        store._store.time_reads("acme", "customers", keys[:1], FEATURES, rounds)
    )
    found["GET of the same bytes, redis-py"] = median(lambda: client.get(name), rounds)

    rows = 10_000 if quick else 100_000
    own = frame(rows)
    begun = time.perf_counter()
    store.sync.write_table("acme", "written", own, entity="customer_id", timestamp="event_timestamp")
    found["write a row of 50 from pandas"] = (time.perf_counter() - begun) / rows
    found["ingest a row of 50, the Rust library"] = ingest_seconds(folder, server, own) / rows

    feast = Feast(folder, server)
    found["read 100, Feast"] = median(lambda: feast.read(ENTITIES), few)
    found["read 1, Feast"] = median(lambda: feast.read(1), few)
    few_rows = 1_000 if quick else 5_000
    own = own[:few_rows].copy()
    begun = time.perf_counter()
    feast.write(own)
    found["write a row of 50, Feast"] = (time.perf_counter() - begun) / few_rows
    found["import"] = import_seconds()
    found["speed of another thread, %"] = 100 * freedom()
    found["wheel, MB"] = wheel.stat().st_size / 1e6
    return found


GOALS: list[tuple[str, str, str, float]] = [
    # What, how many times as fast as what, and at least how many.
    ("read 100 to dicts", "read 100, Feast", "x Feast", 40),
    ("read 100 to Arrow", "read 100, Feast", "x Feast", 100),
    ("read 100 to numpy", "read 100, Feast", "x Feast", 100),
    ("read 100 to Arrow", "read 100, the Rust library", "of the Rust library's speed", 0.75),
    ("read 1", "read 1, Feast", "x Feast", 5),
    ("read 1", "GET of the same bytes, redis-py", "of redis-py's speed", 1 / 1.5),
    ("write a row of 50 from pandas", "ingest a row of 50, the Rust library", "of the Rust library's speed", 0.7),
    ("write a row of 50 from pandas", "write a row of 50, Feast", "x Feast", 50),
]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="measure briefly, to see that it works")
    arguments.add_argument("--json", type=Path, help="write the figures to this file")
    arguments.add_argument("--wheel", type=Path, required=True, help="the wheel that is installed")
    options = arguments.parse_args()
    logging.disable(logging.WARNING)
    folder = Path(tempfile.mkdtemp())
    try:
        with servers.redis(folder) as server:
            found = measure(folder, server, options.quick, options.wheel)
    finally:
        shutil.rmtree(folder)
    width = max(map(len, found))
    for name, figure in found.items():
        print(
            f"{name:<{width}}  {figure:9.1f}"
            if name.endswith(("MB", "%"))
            else f"{name:<{width}}  {figure * 1e6:9.1f} us"
        )
    print()
    for name, other, what, goal in GOALS:
        ratio = found[other] / found[name]
        print(f"{name}: {ratio:.2f} {what} (goal {goal:.2f}){'' if ratio >= goal else '  MISSED'}")
    print(f"import: {found['import'] * 1e3:.0f} ms (goal 60), wheel: {found['wheel, MB']:.1f} MB (goal 15)")
    if options.json:
        options.json.write_text(json.dumps({name: float(figure) for name, figure in found.items()}, indent=1))


if __name__ == "__main__":
    main()
