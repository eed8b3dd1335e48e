"""Every epoch visits every example once, in an order of its own."""

import jax
import numpy as np
import pytest

from core.supervised.batches import epoch_batches


@pytest.mark.parametrize(("examples", "batch", "steps"), [(10, 3, 7), (6, 6, 2), (5, 1, 12)])
def test_an_epoch_visits_no_example_twice(examples: int, batch: int, steps: int) -> None:
    found = np.asarray(epoch_batches(jax.random.key(0), examples, batch, steps))
    assert found.shape == (steps, batch) and found.min() >= 0 and found.max() < examples
    per_epoch = examples // batch
    for first in range(0, steps, per_epoch):
        rows = found[first : first + per_epoch].ravel()
        assert len(set(rows.tolist())) == len(rows)
    assert found[:per_epoch].tolist() != found[per_epoch : 2 * per_epoch].tolist()


def test_every_example_comes_as_often_as_any_other() -> None:
    found = np.asarray(epoch_batches(jax.random.key(1), 7, 2, 900))  # 300 epochs, one example left out of each
    counts = np.bincount(found.ravel(), minlength=7)
    assert np.abs(counts - 1800 / 7).max() < 5 * np.sqrt(300 * 6 / 49)
