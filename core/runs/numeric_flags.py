"""Settings of jax and XLA that can change numbers, read from the environment that the workers inherit.

Without importing jax. What is known to change no number is left out by name; whatever is not known counts. A flag that
is set to jax's default is as good as unset.
"""

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

UNSET = "unset"

# jax's defaults of flags that change numbers; others count whatever their value.
DEFAULTS: dict[str, bool | int | float | str | None] = {
    "jax_allow_f16_reductions": True,
    "jax_compiler_enable_remat_pass": True,
    "jax_custom_vjp3": False,
    "jax_default_matmul_precision": None,
    "jax_default_prng_impl": "threefry2x32",
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
    "jax_enable_custom_prng": False,
    "jax_enable_x64": False,
    "jax_exec_time_optimization_effort": 0.0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_random_seed_offset": 0,
    "jax_softmax_custom_jvp": False,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_threefry_partitionable": True,
    "jax_use_direct_linearize": True,
}

# They choose devices, keep compiled programs, log, dump, trace, check or refuse; none of them changes a number.
_NEUTRAL_JAX = (
    *("jax_backend_target", "jax_cuda_visible_devices", "jax_default_device", "jax_num_cpu_devices", "jax_platform"),
    *("jax_rocm_visible_devices", "jax_xla_backend"),
    *("jax_coordinator_", "jax_local_device_ids", "jax_num_processes", "jax_process_id", "jax_distributed_debug"),
    *("jax_cpu_get_", "jax_enable_preemption_service", "jax_cpu_enable_async_dispatch"),
    *("jax_compilation_cache_", "jax_enable_compilation_cache", "jax_persistent_cache_"),
    "jax_raise_persistent_cache_errors",
    *(
        "jax_compiler_detailed_logging_",
        "jax_dump_",
        "jax_explain_",
        "jax_hlo_source_file_",
        "jax_include_",
        "jax_log_",
    ),
    *("jax_logging_", "jax_pprint_", "jax_source_url_", "jax_traceback_", "jax_tracer_error_"),
    *("jax_array_garbage_collection_guard", "jax_captured_constants_", "jax_check_", "jax_debug_", "jax_enable_checks"),
    *("jax_legacy_prng_key", "jax_numpy_rank_promotion", "jax_transfer_guard"),
)
_NEUTRAL_XLA = (
    *("xla_force_host_platform_device_count", "xla_gpu_cuda_data_dir", "xla_gpu_force_compilation_parallelism"),
    *("xla_dump_", "xla_embed_ir_in_executable", "xla_hlo_profile", "xla_log_"),
)
_OTHERS = ("EAGER_CONSTANT_FOLDING", "NVIDIA_TF32_OVERRIDE")  # what else changes numbers, by its whole name
_WORDS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")  # hold several flags each
_TRUE, _FALSE = ("y", "yes", "t", "true", "on", "1"), ("n", "no", "f", "false", "off", "0")


def numeric_flags(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The flags that can change numbers and differ from their defaults, by name; by default of this process."""
    environment = os.environ if environment is None else environment
    found = {name.lower(): environment[name] for name in environment if name.startswith("JAX_") or name in _OTHERS}
    flags = {name: _spell(name, value) for name, value in found.items() if not name.startswith(_NEUTRAL_JAX)}
    for variable in _WORDS:
        words = dict(_words(environment.get(variable, "")))
        flags |= {name: _spell(name, value) for name, value in words.items() if not name.startswith(_NEUTRAL_XLA)}
    return {name: value for name, value in sorted(flags.items()) if value != _default(name)}


def _spell(name: str, value: str) -> str:
    """A value in one spelling: jax takes 1, true and yes for the same, and numbers in any form."""
    word, default = value.strip().lower(), DEFAULTS.get(name, False)
    if isinstance(default, bool):
        return "true" if word in _TRUE else "false" if word in _FALSE else word
    if isinstance(default, int | float):
        try:
            return repr(type(default)(word))
        except ValueError:
            return word
    return word


def _default(name: str) -> str | None:
    default = DEFAULTS.get(name)
    return None if default is None else _spell(name, str(default))


def _words(text: str) -> Iterator[tuple[str, str]]:
    """Names and values of XLA's flags; the last of several counts. A text without a dash in front names their file."""
    if text.strip() and not text.strip().startswith("-"):
        try:
            text = Path(text.strip()).read_text(encoding="utf-8")
        except (OSError, ValueError):
            yield text.strip(), UNSET
            return
    try:
        words = shlex.split(text)
    except ValueError:  # a quotation without an end
        words = text.split()
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        yield name, value if equals else "true"
