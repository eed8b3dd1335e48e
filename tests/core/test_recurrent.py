"""Recurrent layers against NumPy, against flax and torch, and one form of their run against the others.

The reference below is written from the papers' equations; it shares only the names of parameters with the layers.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.errors import BadInput
from core.models.norms import Moments
from core.models.recurrent import Bidirectional, RecurrentLayer

STEPS, BATCH, INPUTS, WIDTH = 5, 4, 3, 6
KINDS = [(cell, norm) for cell in ("elman", "lstm", "gru") for norm in ("none", "layer", "batch", "weight")]
every_kind = pytest.mark.parametrize(("cell", "norm"), KINDS)
few_kinds = pytest.mark.parametrize(("cell", "norm"), [("elman", "weight"), ("lstm", "batch"), ("gru", "layer")])


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def layer(cell: str, norm: str, **more: Any) -> RecurrentLayer:
    return RecurrentLayer(cell, INPUTS, WIDTH, norm, **({"dtype": jnp.float64, "max_length": STEPS} | more))


def started(model: RecurrentLayer) -> Any:
    """Variables with no gain at 1 and no bias at 0; none of the layer's own draws, which would have to be compiled."""
    shapes: Any = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2, model.inputs), model.dtype))
    random = np.random.default_rng(7)

    def value(path: Any, like: Any) -> jax.Array:
        middle = 1 if path[-1].key.endswith("_gain") else 0
        return jnp.asarray(middle + 0.4 * random.normal(size=like.shape), like.dtype)

    def unseen(like: Any) -> Moments:
        return Moments(*(jnp.full(v.shape, k, v.dtype) for v, k in zip(like, (0, 1, 0), strict=True)))

    kept = jax.tree.map(unseen, shapes.get("batch_stats", {}), is_leaf=lambda leaf: isinstance(leaf, Moments))
    return {"params": jax.tree_util.tree_map_with_path(value, shapes["params"]), "batch_stats": kept}


# The reference


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Reference:
    """One case after the other under layer norm; all cases of a step under batch norm."""

    def __init__(self, model: RecurrentLayer, params: Any, axis: int | None) -> None:
        self.p = {name: np.asarray(value) for name, value in params.items()}
        self.cell, self.axis, self.eps = model.cell, axis, model.eps
        if model.norm == "weight":
            for name in ("input", "recurrent"):
                v = self.p[f"{name}_kernel"]
                self.p[f"{name}_kernel"] = v * self.p.pop(f"{name}_gain") / np.sqrt((v**2).sum(0))

    def norm(self, part: str, a: np.ndarray) -> np.ndarray:
        if f"{part}_gain" not in self.p:
            return a
        centred = a - a.mean(self.axis, keepdims=True)
        deviation = np.sqrt((centred**2).mean(self.axis, keepdims=True) + self.eps)
        return self.p[f"{part}_gain"] * centred / deviation + self.p[f"{part}_bias"]

    def step(self, carry: tuple, x: np.ndarray) -> tuple:
        p, n, h = self.p, WIDTH, carry[0]
        from_x, from_h = x @ p["input_kernel"], h @ p["recurrent_kernel"]
        if self.cell == "elman":
            return (np.tanh(self.norm("sum", from_h + from_x + p["bias"])),)
        if self.cell == "lstm":
            gates = self.norm("recurrent", from_h) + self.norm("input", from_x) + p["bias"]
            f, i, o, g = (gates[:, k * n : (k + 1) * n] for k in range(4))
            c = sigmoid(f) * carry[1] + sigmoid(i) * np.tanh(g)
            return sigmoid(o) * np.tanh(self.norm("cell", c)), c
        gates = self.norm("recurrent_gates", from_h[:, : 2 * n]) + self.norm("input_gates", from_x[:, : 2 * n])
        z, r = np.split(sigmoid(gates + p["bias"][: 2 * n]), 2, axis=1)
        new = self.norm("input_candidate", from_x[:, 2 * n :]) + p["bias"][2 * n :]
        new = np.tanh(new + r * self.norm("recurrent_candidate", from_h[:, 2 * n :]))
        return ((1 - z) * h + z * new,)

    def run(self, x: np.ndarray, mask: np.ndarray | None = None) -> tuple[np.ndarray, tuple]:
        """From a carry of zeros; a case that is absent keeps its carry."""
        states = 2 if self.cell == "lstm" else 1
        carry, outputs = tuple(np.zeros((x.shape[1], WIDTH)) for _ in range(states)), []
        for t in range(len(x)):
            new = self.step(carry, x[t])
            if mask is not None:
                new = tuple(np.where(mask[t][:, None], a, b) for a, b in zip(new, carry, strict=True))
            carry = new
            outputs.append(carry[0])
        return np.array(outputs).reshape(len(x), x.shape[1], WIDTH), carry


@partial(jax.jit, static_argnums=0)
def trained(model: RecurrentLayer, variables: Any, *given: Any) -> Any:
    """Outputs and last carry in training, and the collections that changed."""
    return model.apply(variables, *given, train=True, mutable=["batch_stats"])


def applied(model: RecurrentLayer, variables: Any, *given: Any) -> Any:
    """Outputs and last carry in training."""
    return trained(model, variables, *given)[0]


@every_kind
def test_a_layer_is_its_equations(cell: str, norm: str) -> None:
    with jax.enable_x64(True):
        model, x = layer(cell, norm), draw(STEPS, BATCH, INPUTS)
        variables = started(model)
        found = applied(model, variables, x)
        expected = Reference(model, variables["params"], {"layer": -1, "batch": 0}.get(norm)).run(np.asarray(x))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), found, expected)


@pytest.mark.parametrize(("cell", "parts"), [("lstm", ["cell"]), ("lstm", ["input", "recurrent"]), ("gru", ["input"])])
def test_only_chosen_parts_are_normalised(cell: str, parts: list[str]) -> None:
    with jax.enable_x64(True):
        model, x = layer(cell, "layer", normalised_parts=tuple(parts)), draw(STEPS, BATCH, INPUTS)
        variables = started(model)
        normalised = {name.split("_")[0] for name in variables["params"] if name.endswith("_gain")}
        assert normalised == set(parts)
        found = applied(model, variables, x)
        expected = Reference(model, variables["params"], -1).run(np.asarray(x))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), found, expected)


def test_parameters_have_the_published_number() -> None:
    models = {kind: layer(*kind, dtype=jnp.float32) for kind in KINDS}
    sizes = {kind: sum(v.size for v in jax.tree.leaves(started(m)["params"])) for kind, m in models.items()}
    plain = (INPUTS + WIDTH + 1) * WIDTH
    assert (sizes["elman", "none"], sizes["elman", "layer"]) == (plain, plain + 2 * WIDTH)
    assert (sizes["lstm", "none"], sizes["lstm", "layer"]) == (4 * plain, 4 * plain + 2 * 9 * WIDTH)
    assert (sizes["gru", "none"], sizes["gru", "layer"]) == (3 * plain, 3 * plain + 2 * 6 * WIDTH)
    assert sizes["gru", "weight"] == 3 * plain + 2 * 3 * WIDTH


# Gradients, and the forms of a run


def loss_of(model: RecurrentLayer, variables: Any, mask: Any = None) -> Any:
    """A function of parameters, sequences and first carry that feels every output and the last carry."""

    def loss(params: Any, x: Any, carry: Any) -> Any:
        outputs, last = applied(model, variables | {"params": params}, x, mask, carry)
        return jnp.sum(jnp.sin(3 * outputs)) + sum(jnp.sum(jnp.cos(2 * state)) for state in last)

    return loss


def first_carry(model: RecurrentLayer, batch: int = BATCH) -> Any:
    return tuple(0.5 * draw(batch, WIDTH, seed=20 + k) for k in range(2 if model.cell == "lstm" else 1))


@every_kind
def test_gradients_are_those_of_the_values(cell: str, norm: str) -> None:
    with jax.enable_x64(True):
        model = layer(cell, norm)
        variables, x, carry = started(model), draw(3, BATCH, INPUTS), first_carry(model)
        mask = jnp.array([[1, 1, 1, 0], [1, 1, 0, 1], [1, 0, 1, 1]], bool)
        given = variables["params"], x, carry
        loss = jax.jit(jax.value_and_grad(loss_of(model, variables, mask), argnums=(0, 1, 2)))
        slopes = loss(*given)[1]
        for seed in range(3):  # along directions in which all of it moves
            random = np.random.default_rng(seed)
            direction = jax.tree.map(lambda v, r=random: jnp.asarray(r.normal(size=v.shape)), given)
            ahead, behind = (
                loss(*jax.tree.map(lambda v, d, h=h: v + h * d, given, direction))[0] for h in (1e-6, -1e-6)
            )
            slope = sum(map(jnp.vdot, jax.tree.leaves(slopes), jax.tree.leaves(direction)))
            np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-6)


FORMS = {
    "unrolled": {"unroll": 3},
    "unrolled beyond its length": {"unroll": 50},
    "sums computed again": {"remat": True},
    "differentiated automatically": {"custom_backward": False},
    "automatically, rematerialised": {"custom_backward": False, "remat": True, "unroll": 2},
}


@pytest.mark.parametrize(("cell", "norm", "reverse"), [("lstm", "layer", False), ("gru", "batch", True)])
def test_all_forms_of_a_run_agree(cell: str, norm: str, reverse: bool) -> None:
    with jax.enable_x64(True):
        plain = layer(cell, norm, reverse=reverse)
        variables, x, carry = started(plain), draw(STEPS, BATCH, INPUTS), first_carry(plain)
        mask = jnp.asarray(np.random.default_rng(1).random((STEPS, BATCH)) < 0.8)
        given = variables["params"], x, carry

        def both(model: RecurrentLayer) -> Any:
            return jax.jit(jax.value_and_grad(loss_of(model, variables, mask), argnums=(0, 1, 2)))(*given)

        expected = both(plain)
        for name, form in FORMS.items():
            found = both(layer(cell, norm, reverse=reverse, **form))
            jax.tree.map(
                lambda a, b, n=name: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11, err_msg=n), found, expected
            )


@few_kinds
def test_step_by_step_is_the_same_as_a_run(cell: str, norm: str) -> None:
    with jax.enable_x64(True):
        model, x = layer(cell, norm, learn_initial_carry=True, max_length=3), draw(STEPS, BATCH, INPUTS)
        variables = started(model)
        mask = jnp.asarray(np.random.default_rng(1).random((STEPS, BATCH)) < 0.7)
        (outputs, last), after = trained(model, variables, x, mask)
        carry = model.apply(variables, BATCH, method="initial_carry")

        @jax.jit
        def step(variables: Any, carry: Any, x: Any, t: Any, mask: Any) -> Any:
            return model.apply(variables, carry, x, t, mask, True, method="step", mutable=["batch_stats"])

        for t in range(STEPS):
            (carry, h), changed = step(variables, carry, x[t], t, mask[t])
            variables = variables | changed
            np.testing.assert_allclose(h, outputs[t], rtol=1e-10, atol=1e-12)
        found, expected = (carry, variables.get("batch_stats")), (last, after.get("batch_stats"))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), found, expected)


@few_kinds
def test_reverse_is_a_run_over_flipped_sequences(cell: str, norm: str) -> None:
    with jax.enable_x64(True):
        forward, backward = layer(cell, norm), layer(cell, norm, reverse=True)
        variables, x = started(forward), draw(STEPS, BATCH, INPUTS)
        mask = jnp.asarray(np.random.default_rng(1).random((STEPS, BATCH)) < 0.7)
        outputs, last = applied(backward, variables, x, mask)
        flipped, end = applied(forward, variables, x[::-1], mask[::-1])
        np.testing.assert_allclose(outputs, flipped[::-1], rtol=1e-12)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), last, end)


def test_both_directions_stand_side_by_side() -> None:
    x = jnp.asarray(draw(STEPS, BATCH, INPUTS), jnp.float32)
    parts = [RecurrentLayer("gru", INPUTS, WIDTH, reverse=reverse) for reverse in (False, True)]
    model = Bidirectional(*parts)
    variables: Any = model.init(jax.random.key(0), x)
    outputs, lasts = model.apply(variables, x)
    assert outputs.shape == (STEPS, BATCH, 2 * WIDTH)
    for number, (part, name) in enumerate(zip(parts, ("forward", "backward"), strict=True)):
        alone, last = part.apply({"params": variables["params"][name]}, x)
        np.testing.assert_allclose(outputs[..., number * WIDTH : (number + 1) * WIDTH], alone, rtol=1e-6)
        np.testing.assert_allclose(lasts[number][0], last[0], rtol=1e-6)
    with pytest.raises(BadInput, match="second has reverse"):
        Bidirectional(parts[0], parts[0].clone()).init(jax.random.key(0), x)


# Masks and carries


@pytest.mark.parametrize(
    ("cell", "norm", "reverse"), [("elman", "none", True), ("lstm", "layer", False), ("gru", "layer", True)]
)
def test_ragged_sequences_are_as_if_run_alone(cell: str, norm: str, reverse: bool) -> None:
    with jax.enable_x64(True):
        model, lengths = layer(cell, norm, reverse=reverse, learn_initial_carry=True), [5, 2, 0, 1]
        variables, x = started(model), draw(STEPS, BATCH, INPUTS)
        mask = jnp.arange(STEPS)[:, None] < jnp.array(lengths)[None]
        # What stands in the padding must not matter.
        outputs, last = applied(model, variables, jnp.where(mask[..., None], x, 1e6), mask)
        for case, length in enumerate(lengths):
            alone, end = applied(model, variables, x[:length, case : case + 1])
            np.testing.assert_allclose(outputs[:length, case], alone[:, 0], rtol=1e-10, atol=1e-12)
            for a, b in zip(last, end, strict=True):
                np.testing.assert_allclose(a[case], b[0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(last[0][2], variables["params"]["first_h"])  # nothing was there: the first carry


@few_kinds
def test_sequences_of_no_step_and_of_no_case_present_keep_the_carry(cell: str, norm: str) -> None:
    with jax.enable_x64(True):
        model = layer(cell, norm)
        variables, carry = started(model), first_carry(model)
        nobody = jnp.zeros((STEPS, BATCH), bool)
        for x, mask in ((draw(0, BATCH, INPUTS), None), (draw(STEPS, BATCH, INPUTS), nobody)):
            (outputs, last), after = trained(model, variables, x, mask, carry)
            assert outputs.shape == (len(x), BATCH, WIDTH)
            jax.tree.map(np.testing.assert_array_equal, last, carry)
            np.testing.assert_array_equal(outputs, jnp.broadcast_to(carry[0][None], outputs.shape))
            if norm == "batch":
                jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], variables["batch_stats"])
            slopes = jax.jit(jax.grad(loss_of(model, variables, mask), (0, 1, 2)))(variables["params"], x, carry)
            for leaf in jax.tree.leaves(slopes[:2]):
                np.testing.assert_array_equal(leaf, 0)
            assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in slopes[2])


def test_a_carry_handed_on_continues_a_sequence() -> None:
    with jax.enable_x64(True):
        model, x = layer("lstm", "layer"), draw(STEPS, BATCH, INPUTS)
        variables = started(model)
        whole, last = applied(model, variables, x)
        one, carry = applied(model, variables, x[:2])
        two, end = applied(model, variables, x[2:], None, carry)
        np.testing.assert_allclose(whole, jnp.concatenate([one, two]), rtol=1e-10)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), last, end)


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_layer_norm_makes_cases_independent_and_a_batch_of_one_safe(cell: str) -> None:
    with jax.enable_x64(True):
        model, x = layer(cell, "layer"), draw(STEPS, BATCH, INPUTS)
        variables = started(model)
        together = applied(model, variables, x)[0]
        for case in range(BATCH):
            alone = applied(model, variables, x[:, case : case + 1])[0]
            np.testing.assert_allclose(together[:, case], alone[:, 0], rtol=1e-12)
        mixed = applied(layer(cell, "batch"), started(layer(cell, "batch")), x)[0]
        other = applied(layer(cell, "batch"), started(layer(cell, "batch")), x.at[:, 1:].mul(-2))[0]
        assert np.abs(mixed[:, 0] - other[:, 0]).max() > 1e-3  # the same measure sees the company under batch norm


# Batch norm over time


def test_batch_statistics_are_kept_per_step_and_those_of_the_last_serve_beyond() -> None:
    with jax.enable_x64(True):
        model = layer("gru", "batch", max_length=3, unbiased=True)
        variables, x = started(model), 1 + 2 * draw(STEPS, BATCH, INPUTS)
        _, after = trained(model, variables, x)
        sums = np.asarray(x @ variables["params"]["input_kernel"])[..., : 2 * WIDTH]
        kept = after["batch_stats"]["input_gates"]
        np.testing.assert_allclose(kept.mean, sums[:3].mean(1), rtol=1e-9)
        np.testing.assert_allclose(kept.variance, sums[:3].var(1, ddof=1), rtol=1e-9)
        np.testing.assert_array_equal(kept.count, 1)
        # Evaluation of one case, by hand, with the kept statistics.
        variables = variables | after
        outputs, _ = model.apply(variables, x[:, :1])
        reference = Reference(model, variables["params"], 0)
        carry = (np.zeros((1, WIDTH)),)
        for t in range(STEPS):
            now = {
                part: jax.tree.map(lambda v, t=t: np.asarray(v)[min(t, 2)], m)
                for part, m in after["batch_stats"].items()
            }

            def evaluated(part: str, a: np.ndarray, now: Any = now) -> np.ndarray:
                normal = (a - now[part].mean) / np.sqrt(now[part].variance + model.eps)
                return reference.p[f"{part}_gain"] * normal + reference.p[f"{part}_bias"]

            reference.norm = evaluated
            carry = reference.step(carry, np.asarray(x[t, :1]))
            np.testing.assert_allclose(outputs[t], carry[0], rtol=1e-9)


def test_batch_norm_ignores_absent_cases() -> None:
    with jax.enable_x64(True):
        model, x = layer("lstm", "batch"), draw(STEPS, BATCH, INPUTS)
        variables = started(model)
        mask = jnp.ones((STEPS, BATCH), bool).at[:, -1].set(False)
        masked, after = trained(model, variables, x, mask)
        fewer, expected = trained(model, variables, x[:, :-1])
        np.testing.assert_allclose(masked[0][:, :-1], fewer[0], rtol=1e-9)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), after, expected)


# Other libraries


def test_the_plain_lstm_is_that_of_flax() -> None:
    model, x = RecurrentLayer("lstm", INPUTS, WIDTH), jnp.asarray(draw(STEPS, BATCH, INPUTS), jnp.float32)
    params = started(model)["params"]
    order = "fiog"
    theirs: dict[str, Any] = {}
    for k, gate in enumerate(order):
        part = slice(k * WIDTH, (k + 1) * WIDTH)
        theirs[f"i{gate}"] = {"kernel": params["input_kernel"][:, part]}
        theirs[f"h{gate}"] = {"kernel": params["recurrent_kernel"][:, part], "bias": params["bias"][part]}
    flax = nn.RNN(nn.OptimizedLSTMCell(WIDTH), time_major=True)
    expected = flax.apply({"params": {"cell": theirs}}, x)
    np.testing.assert_allclose(model.apply({"params": params}, x)[0], expected, rtol=1e-5, atol=1e-6)


def test_the_plain_gru_is_that_of_flax() -> None:
    model, x = RecurrentLayer("gru", INPUTS, WIDTH), jnp.asarray(draw(STEPS, BATCH, INPUTS), jnp.float32)
    params = started(model)["params"]
    theirs: dict[str, Any] = {"hn": {"bias": jnp.zeros(WIDTH)}}
    for k, (gate, sign) in enumerate([("z", -1), ("r", 1), ("n", 1)]):  # their z is our 1 - z
        part = slice(k * WIDTH, (k + 1) * WIDTH)
        bias = sign * params["bias"][part]
        theirs[f"i{gate}"] = {"kernel": sign * params["input_kernel"][:, part], "bias": bias}
        theirs[f"h{gate}"] = theirs.get(f"h{gate}", {}) | {"kernel": sign * params["recurrent_kernel"][:, part]}
    expected = nn.RNN(nn.GRUCell(WIDTH), time_major=True).apply({"params": {"cell": theirs}}, x)
    np.testing.assert_allclose(model.apply({"params": params}, x)[0], expected, rtol=1e-5, atol=1e-6)


def test_values_and_gradients_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    with jax.enable_x64(True):
        model = layer("lstm", "layer")
        params = started(model)["params"]
        x = draw(STEPS, BATCH, INPUTS)
        value, slopes = jax.value_and_grad(lambda p: jnp.sum(jnp.sin(3 * model.apply({"params": p}, x)[0])))(params)
        p = {name: torch.tensor(np.asarray(v), requires_grad=True) for name, v in params.items()}

        def norm(part: str, a: Any) -> Any:
            shape = a.shape[-1:]
            return torch.nn.functional.layer_norm(a, shape, p[f"{part}_gain"], p[f"{part}_bias"], model.eps)

        h = c = torch.zeros(BATCH, WIDTH, dtype=torch.float64)
        loss = torch.zeros((), dtype=torch.float64)
        for now in torch.tensor(np.asarray(x)):
            gates = norm("recurrent", h @ p["recurrent_kernel"]) + norm("input", now @ p["input_kernel"]) + p["bias"]
            f, i, o, g = gates.chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(norm("cell", c))
            loss = loss + torch.sin(3 * h).sum()
        loss.backward()
        assert loss.item() == pytest.approx(float(value))
        for name, slope in slopes.items():
            np.testing.assert_allclose(slope, p[name].grad, rtol=1e-8, atol=1e-9)


# Types, replicates, wrong input


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_runs_beside_float32(dtype: Any) -> None:
    model = RecurrentLayer("gru", INPUTS, WIDTH, "layer")
    variables, x = started(model), jnp.asarray(draw(STEPS, BATCH, INPUTS), jnp.float32)
    outputs, carry = model.apply(variables, x.astype(dtype))
    assert outputs.dtype == carry[0].dtype == dtype
    np.testing.assert_allclose(
        np.asarray(outputs, np.float32), model.apply(variables, x)[0], atol=30 * float(jnp.finfo(dtype).eps)
    )
    slopes = jax.grad(lambda p: jnp.sum(model.apply({"params": p}, x.astype(dtype))[0].astype(jnp.float32)))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(slopes(variables["params"])))


def test_replicates_can_be_run_side_by_side() -> None:
    model, x = RecurrentLayer("lstm", INPUTS, WIDTH, "layer"), jnp.asarray(draw(STEPS, BATCH, INPUTS), jnp.float32)
    many = jax.vmap(lambda key: model.init(key, x))(jax.random.split(jax.random.key(0), 3))

    def slope(params: Any) -> Any:
        return jax.grad(lambda p: jnp.sum(jnp.square(model.apply({"params": p}, x)[0])))(params)

    together = jax.jit(jax.vmap(slope))(many["params"])
    for k in range(3):
        alone = jax.jit(slope)(jax.tree.map(lambda v, k=k: v[k], many["params"]))
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][k], value, rtol=1e-4, atol=1e-5)


def test_what_it_starts_from() -> None:
    params = RecurrentLayer(
        "lstm", INPUTS, WIDTH, "layer", initial_gain=0.1, forget_bias=1.0, learn_initial_carry=True
    ).init(jax.random.key(0), jnp.zeros((1, 1, INPUTS)))["params"]
    np.testing.assert_array_equal(params["bias"], [1.0] * WIDTH + [0.0] * 3 * WIDTH)
    np.testing.assert_allclose(np.concatenate([params[f"{p}_gain"] for p in ("input", "recurrent", "cell")]), 0.1)
    np.testing.assert_array_equal(params["first_c"], 0)
    for k in range(4):
        block = np.asarray(params["recurrent_kernel"])[:, k * WIDTH : (k + 1) * WIDTH]
        np.testing.assert_allclose(block.T @ block, np.eye(WIDTH), atol=1e-5)


WRONG = {
    "unknown cell 'lsmt': did you mean 'lstm'": {"cell": "lsmt"},
    "unknown norm 'layers': did you mean 'layer'": {"norm": "layers"},
    "unknown part of the cell lstm 'sum'": {"normalised_parts": ("sum",)},
    "width of a recurrent layer is 0": {"width": 0},
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_settings_are_refused(line: str) -> None:
    given = {"cell": "lstm", "inputs": INPUTS, "width": WIDTH} | WRONG[line]
    with pytest.raises(BadInput, match=line):
        RecurrentLayer(**given).init(jax.random.key(0), jnp.zeros((1, 2, INPUTS)))


def test_wrong_shapes_are_refused() -> None:
    model = RecurrentLayer("lstm", INPUTS, WIDTH)
    x = jnp.zeros((STEPS, BATCH, INPUTS))
    variables = model.init(jax.random.key(0), x)
    with pytest.raises(BadInput, match=r"\(time, batch, 3\), not \(5, 4, 2\)"):
        model.apply(variables, x[..., :2])
    with pytest.raises(BadInput, match=r"\(time, batch, 3\), not \(4, 3\)"):
        model.apply(variables, x[0])
    with pytest.raises(BadInput, match=r"bool \(5, 4\), not bool \(4, 5\)"):
        model.apply(variables, x, jnp.ones((BATCH, STEPS), bool))
    with pytest.raises(BadInput, match="not float32"):
        model.apply(variables, x, jnp.ones((STEPS, BATCH)))
    with pytest.raises(BadInput, match=r"carry needs 2 x \(4, 6\), not \[\(4, 6\)\]"):
        model.apply(variables, x, None, (jnp.zeros((BATCH, WIDTH)),))
    batch = RecurrentLayer("gru", INPUTS, WIDTH, "batch")
    with pytest.raises(BadInput, match="at least two cases"):
        batch.apply(batch.init(jax.random.key(0), x), x[:, :1], train=True, mutable=["batch_stats"])
