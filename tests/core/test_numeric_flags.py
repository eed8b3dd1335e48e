"""The flags of jax and XLA that change numbers: which count, and in one spelling."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from core.launch import compose, jobs
from core.runs.numeric_flags import DEFAULTS, numeric_flags


@pytest.mark.parametrize(
    ("environment", "flags"),
    [
        ({}, {}),
        ({"JAX_THREEFRY_PARTITIONABLE": "0"}, {"jax_threefry_partitionable": "false"}),
        ({"JAX_THREEFRY_PARTITIONABLE": "False"}, {"jax_threefry_partitionable": "false"}),
        ({"JAX_THREEFRY_PARTITIONABLE": "yes"}, {}),
        ({"JAX_DEFAULT_PRNG_IMPL": "rbg"}, {"jax_default_prng_impl": "rbg"}),
        ({"JAX_DEFAULT_PRNG_IMPL": "threefry2x32"}, {}),
        ({"JAX_DEFAULT_MATMUL_PRECISION": "bfloat16"}, {"jax_default_matmul_precision": "bfloat16"}),
        ({"JAX_ENABLE_X64": "on"}, {"jax_enable_x64": "true"}),
        ({"JAX_RANDOM_SEED_OFFSET": "00"}, {}),
        ({"JAX_RANDOM_SEED_OFFSET": "7"}, {"jax_random_seed_offset": "7"}),
        ({"JAX_RANDOM_SEED_OFFSET": "many"}, {"jax_random_seed_offset": "many"}),
        ({"JAX_EXEC_TIME_OPTIMIZATION_EFFORT": "0"}, {}),
        ({"JAX_NEVER_HEARD_OF": "TRUE"}, {"jax_never_heard_of": "true"}),
        ({"EAGER_CONSTANT_FOLDING": "1"}, {"eager_constant_folding": "true"}),
        ({"NVIDIA_TF32_OVERRIDE": "0"}, {"nvidia_tf32_override": "false"}),
        ({"XLA_FLAGS": "--xla_a=1 --xla_b  --xla_c=Fast"}, {"xla_a": "true", "xla_b": "true", "xla_c": "fast"}),
        ({"XLA_FLAGS": "--xla_a=1 --xla_a=0"}, {"xla_a": "false"}),
        ({"XLA_FLAGS": "--xla_a='x y' --xla_b=\""}, {"xla_a": "'x", "y'": "true", "xla_b": '"'}),
        ({"XLA_FLAGS": "--xla_a='x y'"}, {"xla_a": "x y"}),
        ({"XLA_FLAGS": "/no/such/file"}, {"/no/such/file": "unset"}),
        ({"LIBTPU_INIT_ARGS": "--xla_tpu_a=true"}, {"xla_tpu_a": "true"}),
        ({"JAX": "1", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5", "OMP_NUM_THREADS": "1"}, {}),
    ],
)
def test_what_can_change_a_number_counts_unless_it_is_the_default(environment, flags):
    assert numeric_flags(environment) == flags


@pytest.mark.parametrize(
    "environment",
    [
        {"JAX_PLATFORMS": "cpu", "JAX_PLATFORM_NAME": "gpu", "CUDA_VISIBLE_DEVICES": "1", "JAX_NUM_CPU_DEVICES": "8"},
        {"JAX_COMPILATION_CACHE_DIR": "/x", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
        {"JAX_LOG_COMPILES": "1", "JAX_DEBUG_NANS": "1", "JAX_TRACEBACK_FILTERING": "off", "JAX_DUMP_IR_TO": "/x"},
        {"XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_dump_to=/x --xla_dump_hlo_as_text"},
    ],
)
def test_devices_caches_and_logs_do_not_count(environment):
    assert numeric_flags(environment) == {}


def test_flags_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "flags").write_text("--xla_a=2\n--xla_b\n")
    assert numeric_flags({"XLA_FLAGS": str(tmp_path / "flags")}) == {"xla_a": "2", "xla_b": "true"}


def test_the_defaults_are_those_of_jax() -> None:
    """Asked in a process without the flags of these tests."""
    program = (
        "import json, sys; from jax._src import config\n"
        "found = {name: config.config._value_holders[name].value for name in sys.argv[1:]}\n"
        "print(json.dumps({name: getattr(value, 'value', value) for name, value in found.items()}))"
    )
    command = [sys.executable, "-c", program, *DEFAULTS]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    done = subprocess.run(command, env=plain, check=True, timeout=60, capture_output=True, text=True)
    assert json.loads(done.stdout) == DEFAULTS


def test_the_environment_reaches_the_numbers_and_the_identity(toy_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other random numbers have another identity, so that they are not mixed with the first ones."""

    def name() -> str:
        launch = compose.compose_launch(["paper=toy", "study=fit", "scale=smoke"])
        return jobs.make_job(launch, launch.studies[0]).identity.name

    def draws(partitionable: bool) -> list[float]:
        with jax.threefry_partitionable(partitionable):
            return jax.random.normal(jax.random.key(0), (3,)).tolist()

    assert draws(True) != draws(False)
    before = name()
    monkeypatch.setenv("JAX_THREEFRY_PARTITIONABLE", "0")
    other = name()
    assert other != before
    monkeypatch.setenv("JAX_THREEFRY_PARTITIONABLE", "false")
    assert name() == other
    monkeypatch.setenv("JAX_THREEFRY_PARTITIONABLE", "1")
    assert name() == before


def test_flags_are_read_without_jax() -> None:
    program = "import sys; from core.runs import identity, numeric_flags; numeric_flags.numeric_flags()"
    program += "; assert not {'jax', 'numpy', 'flax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=Path(__file__).resolve().parents[2])
