"""The surroundings of every test: eight virtual CPU devices, no network, no folder of the user read or written.

All of it is set before jax is first imported, and in environment variables, so that started processes inherit it.
"""

import gc
import ipaddress
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import caches
from tests.limits import install_limits
from tests.toy import build_toy, use_root

SCRATCH = Path(tempfile.mkdtemp(prefix="encore-tests-"))
CACHE = caches.choose_cache(Path(__file__).resolve().parents[1], SCRATCH)
CLOSED_PROXY = "http://127.0.0.1:9"

for variable in list(os.environ):
    if variable.startswith(("ENCORE_", "HYDRA_", "JAX_", "WANDB_", "XLA_")):
        del os.environ[variable]

os.environ |= {
    "JAX_PLATFORMS": "cpu",
    # The older code generator, which compiles loops and fusions in half the time.
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_cpu_use_fusion_emitters=false",
    # Eight virtual devices on few cores wait for each other forever unless the runtime takes the machine for larger.
    "NPROC": "16",
    # Most programs here are small and run a few times: optimising them takes longer than it saves.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    caches.VARIABLE: str(CACHE),
    # Kept from one test run to the next; below the default threshold of a second nothing would be.
    "JAX_COMPILATION_CACHE_DIR": str(CACHE / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": str(CACHE / "matplotlib"),
    "ENCORE_CACHE": str(SCRATCH / "cache"),
    "ENCORE_RESULTS": str(SCRATCH / "results"),
    "WANDB_MODE": "offline",
    "WANDB_DIR": str(SCRATCH),
    "WANDB_CACHE_DIR": str(SCRATCH / "wandb-cache"),
    "WANDB_CONFIG_DIR": str(SCRATCH / "wandb-config"),
    "WANDB_DATA_DIR": str(SCRATCH / "wandb-data"),
    # Package clients and downloads of started processes, which the guard below does not reach.
    "PIP_NO_INDEX": "1",
    "npm_config_offline": "true",
    "http_proxy": CLOSED_PROXY,
    "https_proxy": CLOSED_PROXY,
    "no_proxy": "127.0.0.1,localhost,::1",
}

# Python's own compilation of the libraries is kept, too, also where the surroundings switch that off: without it every
# started process spends several seconds on it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.pycache_prefix = os.environ.setdefault("PYTHONPYCACHEPREFIX", str(CACHE / "python"))
sys.dont_write_bytecode = False

# Following programs by shapes makes many objects that live on: with the usual thresholds a quarter of the time is spent
# searching for garbage among them.
gc.set_threshold(50_000, 10, 10)


def pytest_configure(config: pytest.Config) -> None:
    """Bound the time of tests, and the size of what is kept between test runs."""
    install_limits(config)
    if not hasattr(config, "workerinput"):
        caches.bound_cache(CACHE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests beside this file, which take longest, so that no process is left with them in the end."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


def pytest_unconfigure() -> None:
    """Remove what the tests of this process wrote."""
    shutil.rmtree(SCRATCH, ignore_errors=True)


def _is_here(host: str | bytes | None) -> bool:
    """Whether a host name or address means this machine, judged without asking a name server."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Answer as a machine without a network does: only loopback addresses can be resolved and reached."""
    resolve = socket.getaddrinfo
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def refuse(sock: socket.socket, address: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
            raise ConnectionRefusedError(f"tests have no network: {address[0]} refused")

    def guarded_resolve(host: str | bytes | None, *args: Any, **kwargs: Any) -> list:
        if not _is_here(host):
            raise socket.gaierror(socket.EAI_NONAME, f"tests have no network: {host!r} not resolved")
        return resolve(host, *args, **kwargs)

    def guarded_connect(sock: socket.socket, address: Any) -> None:
        refuse(sock, address)
        connect(sock, address)

    def guarded_connect_ex(sock: socket.socket, address: Any) -> int:
        refuse(sock, address)
        return connect_ex(sock, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", guarded_resolve)
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        yield


@pytest.fixture
def toy_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project root with the toy paper of `tests/toy.py` alone, its results in `<tmp_path>/results`."""
    root = build_toy(tmp_path / "root")
    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path / "results"))
    use_root(root, monkeypatch)
    return root
