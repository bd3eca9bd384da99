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
from urllib.parse import urlsplit

from servers import Server, free_port, none, until_listens

CONFIGURATION = """\
service {{
    cluster-name fstore-python
    proto-fd-max 1024
    work-directory {folder}
}}
mod-lua {{
    user-path {folder}/usr/udf/lua
}}
logging {{
    console {{
        context any warning
    }}
}}
network {{
    service {{
        address 127.0.0.1
        port {service}
    }}
    fabric {{
        address 127.0.0.1
        port {fabric}
    }}
    heartbeat {{
        mode mesh
        address 127.0.0.1
        port {heartbeat}
        interval 150
        timeout 10
    }}
}}
namespace features {{
    replication-factor 1
    nsup-period 1
    storage-engine memory {{
        data-size 1G
    }}
}}
"""


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
    service, fabric, heartbeat = free_port(), free_port(), free_port()
    file = folder / "aerospike.conf"
    file.write_text(CONFIGURATION.format(folder=folder, service=service, fabric=fabric, heartbeat=heartbeat))
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
