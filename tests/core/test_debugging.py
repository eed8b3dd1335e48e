"""What is looked into beside a run: where a state turned non-finite, and a trace of warm steps."""

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.cli.main import main
from core.lab.keys import replicate_keys
from core.lab.origins import Origin, find_origins
from core.launch.compose import compose_launch
from core.launch.jobs import make_job
from core.running import debugging

DRIFT = ("paper=toy", "study=drift", "tracking=none")


def origin(function, *arguments) -> Origin:
    """The one origin of what a function of finite numbers gives."""
    result, found = find_origins(function, *arguments)
    plain = function(*arguments)
    for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    [each] = set(found.values())
    return each


def test_the_operation_that_makes_it_is_the_origin() -> None:
    """Not those after it, which hand it on."""
    x = jnp.array([4.0, -1.0])
    assert origin(lambda x: 2 * jnp.log(x + 1) + 3, x).operation == "log"
    assert origin(lambda x: jnp.log(x + 1), x).kind == "infinite"
    found = origin(lambda x: jnp.sum(jnp.sqrt(x) - jnp.sqrt(x)), x)
    assert (found.kind, found.operation) == ("NaN", "sqrt")


def test_origins_inside_of_functions_scans_and_branches() -> None:
    inner = jax.jit(lambda x: jnp.log(x - 2))
    assert origin(lambda x: jnp.exp(inner(x)), jnp.float32(1)).operation == "log"
    assert origin(jax.checkpoint(lambda x: jnp.sqrt(x - 2)), jnp.float32(1)).operation == "sqrt"
    branch = jax.jit(lambda x: jax.lax.cond(x > 0, lambda y: y / (y - 1), lambda y: y, x))
    assert origin(branch, jnp.float32(1)).operation == "div"

    def turn(carried, t):
        return carried + t, jnp.sqrt(1.5 - t)

    def turns(x):
        return jax.lax.scan(turn, x, jnp.arange(3.0))

    assert origin(turns, jnp.float32(0)).operation == "sqrt"
    assert find_origins(turns, jnp.float32(0))[1].keys() == {"[1]"}, "the carry is finite"


def test_origins_of_gradients_are_those_of_the_forward_operation() -> None:
    assert origin(jax.grad(lambda x: jnp.sqrt(x)), jnp.float32(0)).kind == "infinite"


def test_what_is_masked_away_is_no_origin() -> None:
    def masked(x):
        return jax.nn.softmax(jnp.where(jnp.arange(3) < 2, x, -jnp.inf))

    assert find_origins(masked, jnp.float32(1))[1] == {}
    assert find_origins(lambda x: jnp.where(x > 0, x, jnp.log(x)), jnp.float32(0.5))[1] == {}


def test_debugging_is_no_part_of_an_identity(toy_root: Path) -> None:
    plain = compose_launch(DRIFT)
    debugged = compose_launch([*DRIFT, "debug.nan=true", "debug.trace=true"])
    assert debugged.debug.nan and debugged.debug.trace and not plain.debug.nan
    names = {make_job(each, each.studies[0]).identity.name for each in (plain, debugged)}
    assert len(names) == 1


def diverging_step() -> int:
    """The first step after which a replicate 0 of the toy is not finite, by its own formula in float32."""
    key = replicate_keys("toy", "drift", [0])[0]
    from core.lab.keys import key_for

    x = np.asarray(jax.random.normal(key_for(key, "init"), (3,)))
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(400):
            x = (x - np.float32(3.0) * (x - 1)).astype(np.float32)  # the noise of 1e-3 is lost in it
            if not np.isfinite(x).all():
                return i
    raise AssertionError("it stays finite")


def test_a_replicate_that_diverged_is_opened_and_a_trace_is_kept(
    toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", *DRIFT, "workers=1"]
    assert main([*words, "debug.nan=true", "debug.trace=true"]) == 0
    shown = capsys.readouterr().out
    assert f"drift replicate 0, fast: diverges in step {diverging_step()} (counted from 0)" in shown
    assert "state['x']: infinite from 'mul' of finite numbers" in shown
    source = (toy_root / "experiments" / "toy" / "experiment.py").read_text(encoding="utf-8").splitlines()
    [number] = [number for number, line in enumerate(source, 1) if "scale * settings.rate" in line]
    assert f"step in experiments/toy/experiment.py:{number}" in shown and source[number - 1].strip() in shown
    assert "30 warm steps traced" in shown and "ui.perfetto.dev" in shown
    [run] = (tmp_path / "results" / "runs").glob("toy-drift-*")
    [trace] = (run / "debug" / "trace").rglob("perfetto_trace.json.gz")
    assert json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    before = {path: path.stat().st_mtime_ns for path in (run / "replicates").rglob("*") if path.is_file()}
    assert main([*words, "debug.nan=true"]) == 0, "a finished run can be opened, too"
    assert "diverges in step" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (run / "replicates").rglob("*") if path.is_file()} == before
    assert not list((run / "checkpoints").rglob("*.msgpack"))


def test_where_nothing_diverged_there_is_nothing_to_open(toy_root: Path) -> None:
    launch = compose_launch(["paper=toy", "study=fit", "tracking=none"])
    assert debugging.divergence_tasks(make_job(launch, launch.studies[0])) == []
