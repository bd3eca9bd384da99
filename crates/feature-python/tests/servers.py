"""Servers for tests: at an address in the environment, or a program on the PATH."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest


@dataclass(frozen=True)
class Server:
    host: str
    port: int


def required(name: str) -> bool:
    return name in [item.strip() for item in os.environ.get("FSTORE_REQUIRE", "").split(",")]


def none(name: str, why: str) -> None:
    """Ignore the test aloud, or fail it where the server must be there."""
    if required(name):
        pytest.fail(f"FSTORE_REQUIRE has {name}: {why}")
    # Also where a module asks before its tests do.
    pytest.skip(why, allow_module_level=True)


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        port: int = own.getsockname()[1]
        return port


@contextmanager
def redis(folder: Path) -> Iterator[Server]:
    url = os.environ.get("FSTORE_TEST_REDIS_URL")
    if url:
        parts = urlsplit(url)
        yield Server(parts.hostname or "localhost", parts.port or 6379)
        return
    program = shutil.which("redis-server")
    if program is None:
        none("redis", "there is no redis-server on the PATH, and FSTORE_TEST_REDIS_URL is not set")
        return
    port = free_port()
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
    try:
        until_listens(process, port)
        yield Server("127.0.0.1", port)
    finally:
        process.kill()
        process.wait()


def until_listens(process: subprocess.Popen[bytes], port: int, limit: float = 30.0) -> None:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server has ended: {process.returncode}")
        with socket.socket() as own:
            if own.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
