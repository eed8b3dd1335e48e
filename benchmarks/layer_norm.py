"""Layer norm against the memory that bounds it, and recurrent training steps with it, against flax and PyTorch.

Layer norm moves the rows twice forward (read, written) and five times with its gradients (rows read twice, the given
gradient read, outputs and gradients written): its speed is a share of the bandwidth of a stream of as many rows. A
recurrent step is forward, backward and Adam. All sides keep their memory between calls, as workers do.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.harness import Comparison, Outcome
from benchmarks.peers import Inputs, Peer, Work, ready
from benchmarks.timing import ratios

EPS, RATE = 1e-5, 1e-3
MOVED = {"forward": 2, "gradient": 5}  # times that the rows pass between memory and processor


# --- rows ----------------------------------------------------------------------------------------------------------


def draw_rows(sizes: SimpleNamespace) -> Inputs:
    """Rows and the gradient given for them."""
    random = np.random.default_rng(0)
    shapes = {f"{name} {n}": (sizes.rows, n) for n in sizes.units for name in ("x", "dy")}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def gigabytes(x: Any, times: int) -> float:
    """What is moved when rows of float32 pass so many times."""
    return 4e-9 * times * x.shape[0] * x.shape[1]


def build_jax_rows(library: str, work: Work, inputs: Inputs) -> None:
    """Our layer norm with the stream that bounds it, or flax's."""
    import flax.linen as nn
    import jax

    from core.models.norms import LayerNorm

    module = LayerNorm(EPS) if library == "encore" else nn.LayerNorm(EPS)
    stream, forward = jax.jit(lambda x: x + 1), jax.jit(module.apply)

    @jax.jit
    def gradient(params: Any, x: Any, dy: Any) -> Any:
        y, pull = jax.vjp(module.apply, params, x)
        return y, pull(dy)

    for n in work.sizes.units:
        x, dy = jax.device_put(inputs[f"x {n}"]), jax.device_put(inputs[f"dy {n}"])
        params = module.init(jax.random.key(0), x[:1])
        if library == "encore":
            work.add(f"stream {n}", ready(stream, x), gigabytes(x, 2))
        work.add(f"forward {n}", ready(forward, params, x), gigabytes(x, MOVED["forward"]), result=np.asarray)
        call = ready(gradient, params, x, dy)
        work.add(f"gradient {n}", call, gigabytes(x, MOVED["gradient"]), result=lambda found: found[1][1])


def build_torch_rows(work: Work, inputs: Inputs) -> None:
    """PyTorch's layer norm."""
    import torch

    torch.set_num_threads(work.threads)
    for n in work.sizes.units:
        x, dy = torch.from_numpy(inputs[f"x {n}"]).requires_grad_(), torch.from_numpy(inputs[f"dy {n}"])
        module = torch.nn.LayerNorm(n, eps=EPS)

        def forward(module: Any = module, x: Any = x) -> Any:
            with torch.no_grad():
                return module(x)

        def gradient(module: Any = module, x: Any = x, dy: Any = dy) -> Any:
            return torch.autograd.grad(module(x), [x, module.weight, module.bias], dy)[0]

        for name, call in (("forward", forward), ("gradient", gradient)):
            work.add(f"{name} {n}", call, gigabytes(x, MOVED[name]), result=lambda found: found.numpy())


def share_of_stream(outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    """The bandwidth that layer norm reaches over that of the stream, formed round by round."""
    found = {}
    for label, values in outcome.rates.items():
        what, _, n = label.case.partition(" ")
        if what in MOVED:
            found[str(label)] = ratios(values, outcome.rates[label._replace(case=f"stream {n}", peer="encore")])
    return {"share of the stream": found}


# --- recurrent steps -----------------------------------------------------------------------------------------------


def draw_sequences(sizes: SimpleNamespace) -> Inputs:
    """Sequences (steps, batch, width) of every shape, and parameters of both cells with layer norm."""
    import jax

    from core.models.recurrent import RecurrentLayer

    random, found = np.random.default_rng(0), {}
    for t, b in sizes.shapes:
        found[f"x {t} {b}"] = random.normal(size=(t, b, sizes.width))
    for cell in sizes.cells:
        layer = RecurrentLayer(cell, sizes.width, sizes.width, "layer")
        params = layer.init(jax.random.key(0), np.zeros((1, 1, sizes.width), np.float32))["params"]
        found |= {f"{cell} {name}": leaf + 0.1 * random.normal(size=leaf.shape) for name, leaf in params.items()}
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def cases_of(work: Work, inputs: Inputs) -> Iterator[tuple[str, str, str, np.ndarray, Inputs]]:
    """Name, cell, norm, sequences and parameters of every case."""
    for t, b in work.sizes.shapes:
        for cell in work.sizes.cells:
            own = {name.removeprefix(f"{cell} "): a for name, a in inputs.items() if name.startswith(f"{cell} ")}
            plain = {name: own[name] for name in ("input_kernel", "recurrent_kernel", "bias")}
            yield f"{cell}, plain, T {t}, B {b}", cell, "none", inputs[f"x {t} {b}"], plain
            yield f"{cell}, layer norm, T {t}, B {b}", cell, "layer", inputs[f"x {t} {b}"], own


def jax_training(apply: Callable, params: Any, x: Any) -> Callable[[], Any]:
    """A compiled step of `apply(params, x)`, from the same parameters each time; gradients come first."""
    import jax
    import jax.numpy as jnp
    import optax

    optimizer = optax.adam(RATE)

    def loss(params: Any, x: Any) -> Any:
        found = apply(params, x)  # some layers return their last state, too
        return jnp.mean(jnp.square((found[0] if isinstance(found, tuple) else found) - 0.1))

    @jax.jit
    def step(params: Any, state: Any, x: Any) -> Any:
        slopes = jax.grad(loss)(params, x)
        updates, state = optimizer.update(slopes, state)
        return slopes, optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    return ready(step, params, state, x)


def build_encore_steps(work: Work, inputs: Inputs) -> None:
    """Our layer, and other ways to write it: unrolled, differentiated automatically, and with the product of the
    inputs inside the loop."""
    import jax

    from core.models.recurrent import RecurrentLayer

    def apply(model: Any, params: Any, x: Any) -> Any:
        return model.apply({"params": params}, x)

    def loop(model: Any, params: Any, x: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            return model.apply({"params": params}, carry, x, method="step")

        return jax.lax.scan(step, model.apply({"params": params}, x.shape[1], method="initial_carry"), x)[1]

    for name, cell, norm, x, params in cases_of(work, inputs):
        make, given = (
            partial(RecurrentLayer, cell, work.sizes.width, work.sizes.width, norm),
            jax.device_put((params, x)),
        )
        forms = {"": partial(apply, make()), "not hoisted": partial(loop, make(custom_backward=False))}
        if norm == "layer":
            forms |= {"unrolled 4": partial(apply, make(unroll=4))}
            forms |= {"automatic": partial(apply, make(custom_backward=False))}
        for form, way in forms.items():
            work.add(name, jax_training(way, *given), form=form, result=lambda found: found[0]["recurrent_kernel"])


def build_flax_steps(work: Work, inputs: Inputs) -> None:
    """flax's own layers, which have no layer norm, from their own parameters."""
    import flax.linen as nn
    import jax

    cells = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}
    for name, cell, norm, x, _ in cases_of(work, inputs):
        if norm == "none":
            layer, x = nn.RNN(cells[cell](work.sizes.width), time_major=True), jax.device_put(x)
            work.add(name, jax_training(layer.apply, layer.init(jax.random.key(0), x), x))


def script_torch_loops() -> dict[str, Any]:
    """Both cells by PyTorch's script compiler, with layer norm where the parameters have gains for it."""
    import torch
    from torch import Tensor

    def norm(p: dict[str, Tensor], part: str, a: Tensor) -> Tensor:
        if part + "_gain" in p:
            return torch.layer_norm(a, [a.size(-1)], p[part + "_gain"], p[part + "_bias"], 1e-5)
        return a

    def lstm(x: Tensor, p: dict[str, Tensor]) -> Tensor:
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

    def gru(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        n = p["recurrent_kernel"].size(0)
        from_x = x @ p["input_kernel"]
        gates_x = norm(p, "input_gates", from_x[:, :, : 2 * n]) + p["bias"][: 2 * n]
        candidates_x = norm(p, "input_candidate", from_x[:, :, 2 * n :]) + p["bias"][2 * n :]
        h = torch.zeros(x.size(1), n)
        hs = []
        for gates, candidate in zip(gates_x.unbind(0), candidates_x.unbind(0)):  # noqa: B905 scripts know no `strict`
            from_h = h @ p["recurrent_kernel"]
            z, r = torch.sigmoid(norm(p, "recurrent_gates", from_h[:, : 2 * n]) + gates).chunk(2, 1)
            new = torch.tanh(candidate + r * norm(p, "recurrent_candidate", from_h[:, 2 * n :]))
            h = (1 - z) * h + z * new
            hs.append(h)
        return torch.stack(hs)

    return {"lstm": torch.jit.script(lstm), "gru": torch.jit.script(gru)}


def build_torch_steps(work: Work, inputs: Inputs) -> None:
    """Loops compiled as scripts, and the built-in layers, which have parameters of their own."""
    import torch

    torch.set_num_threads(work.threads)
    loops, built_in = script_torch_loops(), {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}

    def training(apply: Callable, leaves: list, x: Any) -> Callable[[], Any]:
        adam = torch.optim.Adam(leaves, RATE)

        def step() -> Any:
            adam.zero_grad(set_to_none=True)
            (apply(x) - 0.1).square().mean().backward()
            adam.step()
            return leaves[0].grad

        return step

    for name, cell, norm, array, params in cases_of(work, inputs):
        x, p = torch.from_numpy(array), {key: torch.from_numpy(a.copy()).requires_grad_() for key, a in params.items()}
        leaves = [p["recurrent_kernel"], *(leaf for key, leaf in p.items() if key != "recurrent_kernel")]
        step = training(partial(loops[cell], p=p), leaves, x)
        work.add(name, step, form="scripted", result=lambda slope: slope.numpy())
        for _ in range(3):  # the compiler observes some runs
            step()
        if norm == "none":
            own = built_in[cell](work.sizes.width, work.sizes.width)
            work.add(name, training(lambda x, own=own: own(x)[0], list(own.parameters()), x), form="built in")


def cost_of_norm(outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    """Seconds with layer norm over those without, ours and PyTorch's; and ours with it over flax's without."""
    found = {}
    for label, values in outcome.rates.items():
        plain = label._replace(case=label.case.replace("layer norm", "plain"))
        for below in (plain, plain._replace(peer="flax")):
            if plain.case != label.case and label.form in ("", "scripted") and below in outcome.rates:
                found[f"{label} / {below.peer}, plain"] = ratios(outcome.rates[below], values)
    return {"seconds with layer norm / without": found}


ROWS = Comparison(
    name="layer_norm",
    question="What share of a core's memory bandwidth does layer norm reach, beside flax and PyTorch?",
    work="layer norm, forward and with gradients, of {rows} rows of {units} units",
    sizes={"rows": 8192, "units": [256, 512, 1024, 2048, 4096]},
    quick={"rows": 8, "units": [16]},
    rounds=7,
    unit="GB",
    peers=(
        Peer("encore", partial(build_jax_rows, "encore"), ("jax", "flax")),
        Peer("flax", partial(build_jax_rows, "flax"), ("flax", "jax")),
        Peer("torch", build_torch_rows, ("torch",), foreign=True),
    ),
    draw=draw_rows,
    tolerance={"": 1e-5},
    layouts=("one core",),
    derive=share_of_stream,
    headline=tuple(
        ("share of the stream", f"{what} 1024: {peer}") for what in MOVED for peer in ("encore", "flax", "torch")
    ),
)
BENCHMARKS = (
    ROWS,
    dataclasses.replace(
        ROWS,
        name="layer_norm_all",
        question="What share of all cores' memory bandwidth does layer norm reach, beside flax and PyTorch?",
        layouts=("one process",),
    ),
    Comparison(
        name="recurrent_steps",
        question="How fast are training steps of LSTM and GRU, plain and with layer norm, beside flax and PyTorch?",
        work="forward, backward and Adam of {width} units, {cells}; steps and sequences {shapes}",
        sizes={"cells": ["lstm", "gru"], "width": 128, "shapes": [[50, 64], [200, 8]]},
        quick={"cells": ["gru"], "width": 4, "shapes": [[5, 2]]},
        rounds=7,
        unit="steps",
        peers=(
            Peer("encore", build_encore_steps),
            Peer("flax", build_flax_steps, ("flax", "jax")),
            Peer("torch", build_torch_steps, ("torch",), foreign=True),
        ),
        draw=draw_sequences,
        tolerance={"": 1e-3},  # of gradients: 200 steps of float32 sums taken in another order
        layouts=("one core",),
        derive=cost_of_norm,
    ),
)
