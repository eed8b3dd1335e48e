"""Layer norm against the memory that bounds it, and recurrent training steps with it, against flax and PyTorch.

    python -m benchmarks.layer_norm_speed [--torch-python PATH] [--rounds 7]

Layer norm, forward and with its gradients, of 8,192 rows of 256 to 4,096 units, as a share of the measured bandwidth of
a stream: forward moves the rows twice (read, written), the gradient five times in all (rows read twice, the given
gradient read, outputs and gradients written). Recurrent steps are forward, backward and Adam of 128 units over 50 steps
of 64 sequences and 200 steps of 8. Peers do the same work from the same values, compared before anything is timed; each
is one process and they take turns run by run: on one core, as replicates train, and rows on all cores too. All of them
keep their memory between calls, as workers do (`ALLOCATOR_SETTINGS` in core/running/worker_pool.py). PyTorch is needed
only here (`pip install torch==2.13.0 numpy`).
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served import Served, command_line, serve, spread

ROWS, UNITS, WIDTH, EPS, RATE = 8192, (256, 512, 1024, 2048, 4096), 128, 1e-5, 1e-3
SHAPES = {"T 50, B 64": (50, 64), "T 200, B 8": (200, 8)}
BLOCKS = {"lstm": 4, "gru": 3}
PARTS = {
    "lstm": {"input": 4, "recurrent": 4, "cell": 1},
    "gru": {"input_gates": 2, "input_candidate": 1, "recurrent_gates": 2, "recurrent_candidate": 1},
}
RESULT = Path(__file__).parent / "results" / "layer_norm_speed.json"
Runs = dict[str, Callable[[], Any]]
TOLERANCE = 1e-3  # of gradients, relative to the largest: 200 steps of float32 sums taken in another order


def inputs() -> dict[str, np.ndarray]:
    """Rows and their gradient, sequences and parameters: the same in every process."""
    random = np.random.default_rng(0)
    found = {f"{name} {n}": random.normal(size=(ROWS, n)) for n in UNITS for name in ("x", "dy")}
    for shape, (steps, batch) in SHAPES.items():
        found[shape] = random.normal(size=(steps, batch, WIDTH))
    for cell, blocks in BLOCKS.items():
        for name in ("input_kernel", "recurrent_kernel"):
            found[f"{cell} {name}"] = random.normal(size=(WIDTH, blocks * WIDTH)) / WIDTH**0.5
        found[f"{cell} bias"] = np.zeros(blocks * WIDTH)
        for part, size in PARTS[cell].items():
            found[f"{cell} {part}_gain"] = np.full(size * WIDTH, 0.5)
            found[f"{cell} {part}_bias"] = np.zeros(size * WIDTH)
    return {name: value.astype(np.float32) for name, value in found.items()}


def parameters(cell: str, given: dict[str, Any], normalised: bool) -> dict[str, Any]:
    """Parameters of one cell by name."""
    found = {name.removeprefix(f"{cell} "): value for name, value in given.items() if name.startswith(f"{cell} ")}
    plain = ("input_kernel", "recurrent_kernel", "bias")
    return found if normalised else {name: found[name] for name in plain}


# In JAX


def jax_rows(given: dict[str, Any], keep: Callable[[str, Any], None]) -> Runs:
    import flax.linen as nn
    import jax

    from core.models.norms import LayerNorm

    runs: Runs = {}
    stream = jax.jit(lambda x: x + 1)
    for n in UNITS:
        x, dy = jax.device_put(given[f"x {n}"]), jax.device_put(given[f"dy {n}"])
        runs[f"stream {n}"] = partial(lambda f, x: jax.block_until_ready(f(x)), stream, x)
        for kind, module in (("encore", LayerNorm(EPS)), ("flax", nn.LayerNorm(EPS))):
            params = module.init(jax.random.key(0), x[:1])

            def both(params: Any, x: Any, dy: Any, module: Any = module) -> Any:
                y, pull = jax.vjp(module.apply, params, x)
                return y, pull(dy)

            for what, f, arrays in (
                ("forward", jax.jit(module.apply), (params, x)),
                ("gradient", jax.jit(both), (params, x, dy)),
            ):
                run = partial(lambda f, a: jax.block_until_ready(f(*a)), f, arrays)
                runs[f"{kind} {what} {n}"] = run
                found = run()
                keep(f"{what} {n} {kind}", found if what == "forward" else found[1][1])
    return runs


def jax_steps(given: dict[str, Any], keep: Callable[[str, Any], None]) -> Runs:
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax

    from core.models.recurrent import RecurrentLayer

    optimizer = optax.adam(RATE)

    def outputs(model: Any, params: Any, x: Any) -> Any:
        found = model.apply({"params": params}, x)
        return found[0] if isinstance(found, tuple) else found

    def not_hoisted(model: Any, params: Any, x: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            return model.apply({"params": params}, carry, x, method="step")

        return jax.lax.scan(step, model.apply({"params": params}, x.shape[1], method="initial_carry"), x)[1]

    def training(apply: Callable, params: Any, x: Any, keep_as: str | None) -> Callable[[], Any]:
        def loss(params: Any, x: Any) -> Any:
            return jnp.mean(jnp.square(apply(params, x) - 0.1))

        @jax.jit
        def step(params: Any, state: Any, x: Any) -> Any:
            slopes = jax.grad(loss)(params, x)
            updates, state = optimizer.update(slopes, state)
            return optax.apply_updates(params, updates), state, slopes

        state = optimizer.init(params)
        if keep_as:
            keep(keep_as, step(params, state, x)[2]["recurrent_kernel"])
        jax.block_until_ready(step(params, state, x))
        return lambda: jax.block_until_ready(step(params, state, x))

    runs: Runs = {}
    for shape in SHAPES:
        x = jax.device_put(given[shape])
        for cell in BLOCKS:
            for norm in ("none", "layer"):
                params = jax.device_put(parameters(cell, given, norm == "layer"))
                make = partial(RecurrentLayer, cell, WIDTH, WIDTH, norm)
                forms = {"": make(), ", unrolled 4": make(unroll=4), ", automatic": make(custom_backward=False)}
                for form, model in forms.items() if norm == "layer" else [("", make())]:
                    name = f"{cell} {norm}, {shape}"
                    keep_as = f"{name} encore" if form == "" else None
                    runs[f"encore {name}{form}"] = training(partial(outputs, model), params, x, keep_as)
                apply = partial(not_hoisted, make(custom_backward=False))
                runs[f"encore {cell} {norm}, {shape}, not hoisted"] = training(apply, params, x, None)
            theirs = nn.RNN({"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}[cell](WIDTH), time_major=True)
            params = theirs.init(jax.random.key(0), x)["params"]
            runs[f"flax {cell} none, {shape}"] = training(partial(outputs, theirs), params, x, None)
    return runs


# In PyTorch


def torch_rows(given: dict[str, Any], keep: Callable[[str, Any], None]) -> Runs:
    import torch

    runs: Runs = {}
    for n in UNITS:
        x, dy = torch.from_numpy(given[f"x {n}"]).requires_grad_(), torch.from_numpy(given[f"dy {n}"])
        module = torch.nn.LayerNorm(n, eps=EPS)

        def forward(module: Any = module, x: Any = x) -> Any:
            with torch.no_grad():
                return module(x)

        def gradient(module: Any = module, x: Any = x, dy: Any = dy) -> Any:
            return torch.autograd.grad(module(x), [x, module.weight, module.bias], dy)[0]

        for what, run in (("forward", forward), ("gradient", gradient)):
            runs[f"torch {what} {n}"] = run
            keep(f"{what} {n} torch", run().numpy())
    return runs


LOOPS = """
import torch
from torch import Tensor
from typing import Dict

def norm(p: Dict[str, Tensor], part: str, a: Tensor) -> Tensor:
    if part + "_gain" in p:
        return torch.layer_norm(a, [a.size(-1)], p[part + "_gain"], p[part + "_bias"], 1e-5)
    return a

@torch.jit.script
def lstm(x: Tensor, p: Dict[str, Tensor]) -> Tensor:
    from_x = norm(p, "input", x @ p["input_kernel"]) + p["bias"]
    h = torch.zeros(x.size(1), p["recurrent_kernel"].size(0))
    c = torch.zeros_like(h)
    hs = []
    for now in from_x.unbind(0):
        f, i, o, g = (norm(p, "recurrent", h @ p["recurrent_kernel"]) + now).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(norm(p, "cell", c))
        hs.append(h)
    return torch.stack(hs)

@torch.jit.script
def gru(x: Tensor, p: Dict[str, Tensor]) -> Tensor:
    n = p["recurrent_kernel"].size(0)
    from_x = x @ p["input_kernel"]
    gates_x = norm(p, "input_gates", from_x[:, :, : 2 * n]) + p["bias"][: 2 * n]
    candidates_x = norm(p, "input_candidate", from_x[:, :, 2 * n :]) + p["bias"][2 * n :]
    h = torch.zeros(x.size(1), n)
    hs = []
    for gates, candidate in zip(gates_x.unbind(0), candidates_x.unbind(0)):
        from_h = h @ p["recurrent_kernel"]
        z, r = torch.sigmoid(norm(p, "recurrent_gates", from_h[:, : 2 * n]) + gates).chunk(2, 1)
        new = torch.tanh(candidate + r * norm(p, "recurrent_candidate", from_h[:, 2 * n :]))
        h = (1 - z) * h + z * new
        hs.append(h)
    return torch.stack(hs)
"""


def torch_steps(given: dict[str, Any], keep: Callable[[str, Any], None], folder: Path) -> Runs:
    import importlib.util
    import warnings

    import torch

    warnings.simplefilter("ignore")
    path = folder / f"loops_{os.getpid()}.py"  # the compiler of scripts reads their source from a file
    path.write_text(LOOPS)
    spec = importlib.util.spec_from_file_location("loops", path)
    assert spec is not None and spec.loader is not None
    loops = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loops)

    def training(apply: Callable, leaves: list, x: Any, keep_as: str | None, kernel: Any) -> Callable[[], Any]:
        adam = torch.optim.Adam(leaves, RATE)

        def step() -> None:
            adam.zero_grad(set_to_none=True)
            (apply(x) - 0.1).square().mean().backward()
            adam.step()

        if keep_as:
            (apply(x) - 0.1).square().mean().backward()
            keep(keep_as, kernel.grad.numpy())
        for _ in range(4):  # the compiler of scripts observes some runs
            step()
        return step

    runs: Runs = {}
    for shape in SHAPES:
        x = torch.from_numpy(given[shape])
        for cell in BLOCKS:
            for norm in ("none", "layer"):
                p = {k: torch.from_numpy(v.copy()) for k, v in parameters(cell, given, norm == "layer").items()}
                leaves = [leaf.requires_grad_() for leaf in p.values()]
                loop, name = partial(getattr(loops, cell), p=p), f"{cell} {norm}, {shape}"
                runs[f"torch {name}"] = training(loop, leaves, x, f"{name} torch", p["recurrent_kernel"])
            own = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](WIDTH, WIDTH)
            runs[f"torch {cell} built in, {shape}"] = training(
                lambda x, own=own: own(x)[0], list(own.parameters()), x, None, None
            )
    return runs


# Processes


def work(kind: str, folder: Path, cores: list[int]) -> None:
    """Be one peer on these cores."""
    os.sched_setaffinity(0, cores)
    given = inputs()

    def keep(name: str, array: Any) -> None:
        np.save(folder / f"{name} {len(cores)}.npy", np.asarray(array))

    facts = {}
    if kind == "torch":
        import torch

        torch.set_num_threads(len(cores))
        facts = {"torch": torch.__version__}
        runs = torch_rows(given, keep) | (torch_steps(given, keep, folder) if len(cores) == 1 else {})
    else:
        import flax
        import jax

        facts = {"jax": jax.__version__, "flax": flax.__version__}
        runs = jax_rows(given, keep) | (jax_steps(given, keep) if len(cores) == 1 else {})
    for run in runs.values():
        run()
    serve(runs, facts)


def started(kind: str, python: str, folder: Path, cores: list[int]) -> Served:
    from core.running.worker_pool import worker_environment

    command = [python, "-m", "benchmarks.layer_norm_speed", "--work", kind, str(folder), ",".join(map(str, cores))]
    return Served(command, worker_environment(accelerator=False, single_threaded=len(cores) == 1))


def agreement(folder: Path) -> dict[str, float]:
    """The largest difference of each peer's results from ours, relative to the largest value; refused when large."""
    apart: dict[str, float] = {}
    for path in sorted(folder.glob("* encore *.npy")):
        ours = np.load(path)
        for peer in ("flax", "torch"):
            other = path.with_name(path.name.replace(" encore ", f" {peer} "))
            if other.exists():
                key = f"{peer}, {'rows' if path.name.startswith(('forward', 'gradient')) else 'recurrent'}"
                found = float(np.abs(np.load(other) - ours).max() / np.abs(ours).max())
                apart[key] = max(apart.get(key, 0.0), found)
    if len(apart) < 2 or max(apart.values()) > TOLERANCE:
        raise SystemExit(f"not the same work: {apart}")
    return apart


def shares(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Share of the bandwidth of the stream that layer norm reaches, formed round by round."""
    found = {}
    for name, values in seconds.items():
        peer, what, *rest = name.split(" ")
        if what in ("forward", "gradient"):
            moved = 2 if what == "forward" else 5
            stream = [2 / s for s in seconds[f"stream {rest[0]}"]]
            found[f"{peer} {what} {rest[0]}"] = spread([moved / v / s for v, s in zip(values, stream, strict=True)])
    return found


def ratios(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Seconds of peers and of other forms over ours, and of layer norm over none, formed round by round."""
    found = {}

    def add(name: str, above: str, below: str) -> None:
        pairs = zip(seconds[above], seconds[below], strict=True)
        found[name] = spread([a / b for a, b in pairs])

    for shape in SHAPES:
        for cell in BLOCKS:
            for norm in ("none", "layer"):
                ours = f"{cell} {norm}, {shape}"
                add(f"{ours}: torch scripted / encore", f"torch {ours}", f"encore {ours}")
                for form in ("not hoisted", "unrolled 4", "automatic") if norm == "layer" else ("not hoisted",):
                    add(f"{ours}: {form} / encore", f"encore {ours}, {form}", f"encore {ours}")
            plain = f"encore {cell} none, {shape}"
            add(f"{cell}, {shape}: flax / encore, both plain", f"flax {cell} none, {shape}", plain)
            add(f"{cell}, {shape}: torch built in / encore, both plain", f"torch {cell} built in, {shape}", plain)
            add(f"{cell}, {shape}: flax plain / encore with layer norm", f"flax {cell} none, {shape}",
                f"encore {cell} layer, {shape}")  # fmt: skip
            add(f"{cell}, {shape}: layer norm / plain", f"encore {cell} layer, {shape}", plain)
            add(f"{cell}, {shape}: torch layer norm / plain", f"torch {cell} layer, {shape}",
                f"torch {cell} none, {shape}")  # fmt: skip
    return found


def measured(peers: list[Served], rounds: int) -> dict[str, list[float]]:
    """Seconds of every run, peers taking turns within a round."""
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        queues = [list(peer.facts["runs"]) for peer in peers]
        while any(queues):
            for peer, names in zip(peers, queues, strict=True):
                if names:
                    name = names.pop(0)
                    peer.ask(name)
                    seconds.setdefault(name, []).append(peer.answer())
    return seconds


def main() -> None:
    """Compare, print, and keep as JSON."""
    given = command_line("Layer norm and recurrent steps against flax and PyTorch.", 7).parse_args()
    if given.work:
        work(given.work[0], Path(given.work[1]), [int(core) for core in given.work[2].split(",")])
        return
    from core.files import write_json
    from core.runs.provenance import collect_provenance

    begun, busy, found, versions = time.perf_counter(), os.getloadavg()[0], {}, {}
    for where, cores in (("one core", given.cores[-1:]), ("all cores", given.cores)):
        with tempfile.TemporaryDirectory() as name:
            kinds = (("jax", sys.executable), ("torch", given.torch_python))
            peers = [started(kind, python, Path(name), cores) for kind, python in kinds]
            for peer in peers:
                peer.facts = peer.answer()
                versions |= {key: value for key, value in peer.facts.items() if key != "runs"}
            apart = agreement(Path(name))
            seconds = measured(peers, given.rounds)
            for peer in peers:
                peer.close()
        stream = {n: round(2 * 4 * ROWS * n / statistics.median(seconds[f"stream {n}"]) / 1e9, 1) for n in UNITS}
        steps = {name: 1 / statistics.median(v) for name, v in seconds.items() if any(s in name for s in SHAPES)}
        found[where] = {
            "largest_relative_difference": {key: float(f"{value:.1e}") for key, value in apart.items()},
            "stream_gb_per_second": stream,
            "share_of_stream": shares(seconds),
            "training_steps_per_second": {name: round(value, 1) for name, value in steps.items()},
            "ratios_of_seconds": ratios(seconds) if len(cores) == 1 else {},
        }
        print(where, json.dumps(found[where], indent=1))
    about = collect_provenance(seconds=0.0, peak_gib=0.0)
    write_json(
        RESULT,
        {
            "work": f"{ROWS} rows; {WIDTH} units, {', '.join(SHAPES)}; {given.rounds} rounds",
            **found,
            "versions": versions,
            "seconds_in_all": round(time.perf_counter() - begun),
            "load_before": busy,
            "commit": about.get("commit"),
            "device": about.get("device"),
        },
    )


if __name__ == "__main__":
    main()
