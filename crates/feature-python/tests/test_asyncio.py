"""Calls under asyncio: many at once, given up, on several loops, beside other threads, in forked processes."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import feature_store
import psutil
import pyarrow as pa
import pytest
from feature_store import OnlineStoreBackend


async def many(store: OnlineStoreBackend, tenant: str) -> None:
    await store.batch_write(tenant, "v", [({"id": n}, {"n": n}) for n in range(1000)])
    rows = await asyncio.gather(*(store.read_features(tenant, "v", {"id": n}) for n in range(1000)))
    assert [row and row["features"] for row in rows] == [{"n": n} for n in range(1000)]


def test_a_thousand_reads_at_once(store: OnlineStoreBackend, tenant: str) -> None:
    asyncio.run(many(store, tenant))


def test_uvloop(store: OnlineStoreBackend, tenant: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    loop.run_until_complete(many(store, tenant))
    loop.close()


def test_two_loops_in_two_threads(store: OnlineStoreBackend, tenant: str) -> None:
    failed: list[BaseException] = []

    def run(own: str) -> None:
        try:
            for _ in range(3):
                asyncio.run(many(store, own))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(f"{tenant}-{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


class Silent:
    """A server that takes connections and answers nothing, and knows how many it has."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Silent:
        self.server = await asyncio.start_server(self.take, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        await reader.read()
        self.writers.remove(writer)
        writer.close()

    async def __aexit__(self, *_: object) -> None:
        self.server.close()


def test_a_cancelled_task_gives_up_its_call(memory: OnlineStoreBackend, tenant: str) -> None:
    batch = pa.record_batch({"id": list(range(100)), "a": [1.5] * 100})
    taken = 0

    def endless() -> Iterator[pa.RecordBatch]:
        nonlocal taken
        while True:
            taken += 1
            yield batch

    async def run() -> None:
        table = pa.RecordBatchReader.from_batches(batch.schema, endless())
        task = asyncio.create_task(memory.write_table(tenant, "v", table, entity="id"))
        while taken < 50:
            await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # What is under way is taken yet, and then no more.
        before = -1
        while before != taken:
            before = taken
            await asyncio.sleep(0.3)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_call_that_waits_for_a_server_can_be_cancelled() -> None:
    async def run() -> None:
        async with Silent() as silent:
            store = feature_store.RedisOnlineStore("127.0.0.1", silent.port, connect_timeout="60s")
            task = asyncio.create_task(store.read_features("t", "v", {"id": 1}))
            while not silent.writers:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())


def test_a_deadline_is_kept() -> None:
    async def run() -> None:
        async with Silent() as silent:
            store = feature_store.RedisOnlineStore("127.0.0.1", silent.port, connect_timeout="50ms")
            with pytest.raises(feature_store.FeatureStoreError) as caught:
                await store.read_features("t", "v", {"id": 1})
            assert caught.value.retryable

    asyncio.run(run())


def test_a_blocking_call_inside_a_loop_says_what_to_do(memory: OnlineStoreBackend) -> None:
    async def run() -> None:
        with pytest.raises(RuntimeError, match="await the method of the same name"):
            memory.sync.read_features("t", "v", {"id": 1})
        assert await asyncio.to_thread(memory.sync.read_features, "t", "v", {"id": 1}) is None

    asyncio.run(run())


def test_a_coroutine_may_be_made_before_its_loop(memory: OnlineStoreBackend) -> None:
    assert asyncio.run(memory.read_features("t", "v", {"id": 1})) is None


def test_a_loop_that_closes_with_calls_under_way_breaks_nothing(memory: OnlineStoreBackend, tenant: str) -> None:
    async def begin(tasks: list[asyncio.Future[bool]]) -> None:
        for n in range(50):
            tasks.append(asyncio.ensure_future(memory.write_features(tenant, "v", {"id": n}, {"a": 1})))
        await asyncio.sleep(0)

    for _ in range(20):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin([]))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert asyncio.run(memory.check())["backend"] == "embedded"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_a_fork_the_child_connects_anew(redis_server: Any, tenant: str) -> None:
    # In a process of its own, whose other threads a test runner has no part in.
    code = f"""
import asyncio, os, feature_store
store = feature_store.RedisOnlineStore({redis_server.host!r}, {redis_server.port})
store.sync.write_features({tenant!r}, "v", {{"id": 1}}, {{"a": 1}})
child = os.fork()
if child == 0:
    row = store.sync.read_features({tenant!r}, "v", {{"id": 1}})
    again = asyncio.run(store.read_features({tenant!r}, "v", {{"id": 1}}))
    os._exit(0 if row == again and row["features"] == {{"a": 1}} else 1)
assert store.sync.read_features({tenant!r}, "v", {{"id": 1}})["features"] == {{"a": 1}}
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert store.sync.read_features({tenant!r}, "v", {{"id": 1}})["features"] == {{"a": 1}}
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("path", ["None", "'f.redb'"])
def test_after_a_fork_an_embedded_store_is_refused(path: str, tmp_path: Path) -> None:
    """The child would find nothing in memory, and the file is the parent's."""
    code = f"""
import os, feature_store
store = feature_store.EmbeddedOnlineStore({path})
store.sync.write_features("t", "v", {{"id": 1}}, {{"a": 1}})
child = os.fork()
if child == 0:
    try:
        store.sync.read_features("t", "v", {{"id": 1}})
        os._exit(1)
    except feature_store.UnavailableError as error:
        os._exit(0 if "process" in str(error) else 2)
    os._exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert store.sync.read_features("t", "v", {{"id": 1}})["features"] == {{"a": 1}}
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60, cwd=tmp_path)


def test_a_process_ends_with_calls_under_way() -> None:
    code = """
import asyncio, feature_store
store = feature_store.EmbeddedOnlineStore()
async def run():
    for n in range(1000):
        asyncio.ensure_future(store.write_features("t", "v", {"id": n}, {"a": 1}))
    await asyncio.sleep(0)
loop = asyncio.new_event_loop()
loop.run_until_complete(run())
import os, sys
sys.stderr = open(os.devnull, "w")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_interpreter_is_free_while_a_call_waits() -> None:
    """Another thread runs Python while a call waits for a server that does not answer."""

    async def run() -> None:
        async with Silent() as silent:
            store = feature_store.RedisOnlineStore("127.0.0.1", silent.port, connect_timeout="400ms")
            done = threading.Event()

            def wait() -> None:
                try:
                    store.sync.read_features("t", "v", {"id": 1})
                except feature_store.FeatureStoreError:
                    done.set()

            waiting = threading.Thread(target=wait)
            waiting.start()
            # Were the lock held, neither this loop nor the server in it would get to run before the call ends.
            turns = 0
            while not done.is_set():
                turns += 1
                await asyncio.sleep(0)
            waiting.join()
            assert turns > 100

    asyncio.run(run())


CALLS = int(os.environ.get("FSTORE_TEST_CALLS", "60000"))


def test_no_call_leaves_anything_behind(memory: OnlineStoreBackend, tenant: str) -> None:
    """Memory does not grow with calls; FSTORE_TEST_CALLS=1000000 looks closer."""
    store, process = memory, psutil.Process()
    keys = [{"id": n} for n in range(10)]
    store.sync.batch_write(tenant, "v", [(key, {"a": 1.5, "b": "text", "c": [1, 2]}) for key in keys])

    async def some(calls: int) -> None:
        for _ in range(calls // 20):
            await asyncio.gather(*(store.read_features(tenant, "v", key) for key in keys))
        for _ in range(calls // 20):
            try:
                await store.read_features(tenant, "v", {})
            except feature_store.FeatureStoreError:
                pass

    def round_of(calls: int) -> int:
        asyncio.run(some(calls))
        for _ in range(calls // 20):
            store.sync.read_table(tenant, "v", keys).to_arrow()
            store.sync.batch_read(tenant, "v", keys, ["a", "b", "c", "d"])
        gc.collect()
        memory: int = process.memory_info().rss
        return memory

    round_of(CALLS // 4)
    before = round_of(CALLS // 4)
    after = round_of(CALLS)
    # A leak of one small object in each call would be more.
    assert after - before < 40 * CALLS + (4 << 20), f"{(after - before) / CALLS:.1f} bytes a call"


def test_many_threads(memory: OnlineStoreBackend, tenant: str) -> None:
    memory.sync.write_features(tenant, "v", {"id": 1}, {"a": 1})
    failed: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(300):
                row = memory.sync.read_features(tenant, "v", {"id": 1})
                assert row is not None and row["features"] == {"a": 1}
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_ctrl_c_ends_a_blocking_call() -> None:
    code = """
import signal, socket, threading, time, os, feature_store
silent = socket.socket(); silent.bind(("127.0.0.1", 0)); silent.listen()
store = feature_store.RedisOnlineStore("127.0.0.1", silent.getsockname()[1], connect_timeout="60s")
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    store.sync.read_features("t", "v", {"id": 1})
except KeyboardInterrupt:
    print("interrupted")
"""
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=50, capture_output=True, text=True)
    assert done.stdout.strip() == "interrupted"
    assert time.monotonic() - begun < 40
