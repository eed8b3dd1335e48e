"""Which programs XLA compiles: each costs a tenth of a second and more, whether it adds two numbers or trains."""

import contextlib
from collections.abc import Generator
from typing import Any

import jax.monitoring


@contextlib.contextmanager
def watch_programs() -> Generator[list[str]]:
    """The names of the programs that this process compiles, or reads from a cache, in the meantime."""
    names: list[str] = []

    def note(event: str, _: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(about.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
