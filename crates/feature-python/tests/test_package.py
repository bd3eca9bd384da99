"""The package as it is installed: its types, its program, its documentation."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import feature_store
import pytest
from feature_store import OnlineStoreBackend, SyncStore, SyncUnifiedStore, UnifiedFeatureStore

PACKAGE = Path(feature_store.__file__).parent
HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CONFIG = str(HERE.parent / "pyproject.toml")
MYPY = ["--config-file", CONFIG, "--cache-dir", str(ROOT / "target" / "mypy")]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, **options)


def test_types_are_strict() -> None:
    done = run(sys.executable, "-m", "mypy", *MYPY, "-p", "feature_store")
    assert done.returncode == 0, done.stdout


def test_the_code_is_in_style() -> None:
    ruff = [sys.executable, "-m", "ruff"]
    for arguments in (["check"], ["format", "--check"]):
        done = run(*ruff, *arguments, "--no-cache", str(HERE.parent))
        assert done.returncode == 0, done.stdout + done.stderr


def test_stubs_are_right() -> None:
    done = run(sys.executable, "-m", "mypy.stubtest", "--mypy-config-file", CONFIG, "feature_store._native")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_use_the_package_as_its_types_say() -> None:
    files = ["test_errors.py", "test_asyncio.py", "test_interface.py"]
    done = run(sys.executable, "-m", "mypy", *MYPY, *files, cwd=HERE)
    assert done.returncode == 0, done.stdout


def test_there_is_nothing_that_must_be_installed() -> None:
    code = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numpy", "pandas", "pyarrow", "polars", "feast", "tqdm"):
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
import feature_store
store = feature_store.EmbeddedOnlineStore()
store.sync.write_features("t", "v", {"id": 1}, {"a": 1.5})
assert store.sync.read_table("t", "v", [{"id": 1}]).to_dicts() == [{"a": 1.5}]
assert store.sync.write_table("t", "v", {"id": [1], "a": [2.5]}, entity="id").written == 1
assert store.sync.read_table("t", "v", [{"id": 1}]).to_dicts() == [{"a": 2.5}]
"""
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


def methods(of: type) -> dict[str, Any]:
    return {name: own for name, own in vars(of).items() if inspect.isfunction(own) and not name.startswith("_")}


@pytest.mark.parametrize(
    ("awaited", "waits"), [(OnlineStoreBackend, SyncStore), (UnifiedFeatureStore, SyncUnifiedStore)]
)
def test_every_method_is_there_twice(awaited: type, waits: type) -> None:
    own, other = methods(awaited), methods(waits)
    assert list(own) == list(other)
    for name in own:
        assert inspect.iscoroutinefunction(own[name]) or inspect.isasyncgenfunction(own[name])
        assert not inspect.iscoroutinefunction(other[name])
        a, b = inspect.signature(own[name]), inspect.signature(other[name])
        assert a.parameters == b.parameters, name
        assert str(a.return_annotation).replace("AsyncIterator", "Iterator") == str(b.return_annotation), name
        assert own[name].__doc__ and other[name].__doc__


def test_the_program(tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("fstore"))
    store = ["--store", f"embedded:{tmp_path}/f.redb", "--tenant", "acme", "--view", "v"]
    assert run(program, "put", *store, "id=1", "a=1.5").returncode == 0
    got = run(program, "get", *store, "id=1", "--format", "ndjson")
    assert got.returncode == 0 and '"a":1.5' in got.stdout
    assert run(program, "get", *store, "id=2").returncode == 4
    assert run(program, "no-such-command").returncode == 2
    # And what it has written is read here.
    with feature_store.EmbeddedOnlineStore(tmp_path / "f.redb").sync as own:
        assert own.read_features("acme", "v", {"id": 1}, ["a"]) is not None


def test_the_guide_s_examples_run(tmp_path: Path) -> None:
    """Those of the first section, as someone would who reads it."""
    guide = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    section = guide.split("## A model's features in five minutes", 1)[1].split("\n## ", 1)[0]
    code = "\n".join(re.findall(r"```python\n(.*?)```", section, re.S))
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
