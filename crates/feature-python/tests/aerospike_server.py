"""An Aerospike server for tests."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from servers import Server, free_port, none, until_listens

# The one that the tests in Rust start their servers with.
CONFIGURATION = Path(__file__).parents[2] / "store-testkit" / "src" / "servers" / "aerospike.conf"


@contextmanager
def start(folder: Path) -> Iterator[Server]:
    url = os.environ.get("FSTORE_TEST_AEROSPIKE_URL")
    if url:
        parts = urlsplit(url)
        yield Server(parts.hostname or "localhost", parts.port or 3000)
        return
    program = shutil.which("asd")
    if program is None:
        none("aerospike", "there is no asd on the PATH, and FSTORE_TEST_AEROSPIKE_URL is not set")
        return
    for part in ("smd", "usr/udf/lua"):
        (folder / part).mkdir(parents=True)
    service = free_port()
    parts = {
        "number": 1,
        "folder": folder,
        "address": "127.0.0.1",
        "service": service,
        "fabric": free_port(),
        "heartbeat": free_port(),
        "seeds": "",
        "replicas": 1,
        "namespace": "nsup-period 1",
        "storage": "memory {\n        data-size 1G",
    }
    file = folder / "aerospike.conf"
    file.write_text(Template(CONFIGURATION.read_text(encoding="utf-8")).substitute(parts))
    arguments = [program, "--foreground", "--config-file", str(file)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_listens(process, service)
        until_stable(service)
        yield Server("127.0.0.1", service)
    finally:
        process.kill()
        process.wait()


def until_stable(port: int, limit: float = 30.0) -> None:
    """Waits until the cluster of one has formed."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if "ERROR" not in (answer := info(port, "cluster-stable:size=1")) and answer:
            return
        time.sleep(0.1)
    raise TimeoutError("the Aerospike cluster has not formed")


def info(port: int, command: str) -> str:
    """Asks a server in the words of its info protocol."""
    question = f"{command}\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as own:
        own.sendall(struct.pack(">Q", (2 << 56) | (1 << 48) | len(question)) + question)
        length = struct.unpack(">Q", own.recv(8, socket.MSG_WAITALL))[0] & 0xFFFF_FFFF_FFFF
        answer = own.recv(length, socket.MSG_WAITALL).decode()
    return answer.strip().removeprefix(command).strip()
