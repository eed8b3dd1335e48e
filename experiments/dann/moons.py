"""The shallow network on inter-twinning moons, the target turned by 35 degrees (section 5.1.1)."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from core.data.synthetic import rotate_points, two_moons
from core.lab.keys import named_keys
from core.models.linear import project_to_plane
from core.supervised.training import Examples
from experiments.dann import adversarial

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.dann.settings import MoonSettings

Tree = Any
ARMS = {"plain": (0.0, False), "dann": (1.0, False), "shuffled": (1.0, True)}  # reversal, domain labels dealt out
GRID = 40  # points a side of the decision maps
REACH = (3.6, 2.6)  # half of the width and height they cover


def draw_domains(settings: "MoonSettings", key: jax.Array) -> Tree:
    """Source and target points to train on, which are also those that labels are tested on (figure 2); centred and
    doubled as in the authors' program."""
    (source, labels), (target, true) = (two_moons(k, settings.points, settings.noise) for k in jax.random.split(key))
    middle = source.mean(0)[None]
    source, target = 2 * (source - middle), rotate_points(2 * (target - middle), settings.degrees)
    held = {"held": source, "held_labels": labels}
    return {"source": source, "labels": labels, "target": target, "test": target, "true": true,
            "mean": jnp.zeros((1, 2)), **held}  # fmt: skip


def draw_maps(network: adversarial.Network, variables: Tree, examples: Examples) -> Tree:
    """How often the domains are told apart, decisions (GRID, GRID) on labels and domains, and the plane of features."""
    of = partial(adversarial.outputs, network, variables, mean=examples.train["mean"])
    across, up = (jnp.linspace(-reach, reach, GRID) for reach in REACH)
    grid = of(jnp.stack(jnp.meshgrid(across, up), -1).reshape(-1, 2))
    source, target = of(examples.train["source"]), of(examples.train["target"])
    return {
        "domain_accuracy": adversarial.domain_accuracy(source, target),
        "label_map": grid.labels.argmax(-1).astype(jnp.uint8).reshape(GRID, GRID),
        "domain_map": (grid.domains >= 0).astype(jnp.uint8).reshape(GRID, GRID),
        "plane": project_to_plane(source.features, target.features),
    }


def trial(settings: "MoonSettings", keys: jax.Array, lab: "Lab") -> None:
    """The plain network, its adversarial training, and that with domain labels dealt out at random (algorithm 1)."""
    data = lab.map(partial(draw_domains, settings), named_keys(lab, keys, "points"))
    network = adversarial.shallow_network(settings.width)
    task = adversarial.adversarial_task(network, (2,), settings.training.iterations)
    comparison = adversarial.compare_on_domains(settings, keys, lab, adversarial.SHALLOW, task, data)
    start = lab.map(adversarial.zero_domain_head, comparison.initial("init"))
    for name, (reversal, shuffle) in ARMS.items():
        examples = adversarial.arm_examples(data, keys, reversal, settings.weight, shuffle)
        trained = comparison.train(name, start, examples=examples, also=partial(draw_maps, network))
        lab.measure({"domain_accuracy": trained.also["domain_accuracy"]}, arm=name)
        if name != "shuffled":
            for kind in ("label_map", "domain_map", "plane"):
                lab.keep(f"{kind}_{name}", trained.also[kind])
    for kind in ("source", "target", "labels"):
        lab.keep(kind, data[kind])
