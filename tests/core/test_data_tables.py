"""Small tables: their readers and conversions, two-class problems cut from them, classical methods on these."""

import hashlib
import io
import pickle

import jax
import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from core.data.catalogue import find_data_set
from core.data.loading import load_data_set
from core.data.pickles import load_plain_pickle
from core.data.sets import tables
from core.errors import BadInput
from core.tabular import baselines
from core.tabular.sampling import sample_problems, standardise, two_most_frequent_classes

KEY = jax.random.key(0)


def test_tables_of_scikit_learn_are_what_its_own_loaders_give():
    found = load_data_set("sklearn_tables")
    for name in ("breast_cancer", "wine", "iris", "digits"):
        x, y = getattr(sklearn_datasets, f"load_{name}")(return_X_y=True)
        np.testing.assert_allclose(found[f"{name}_features"], x, rtol=1e-6)
        np.testing.assert_array_equal(found[f"{name}_labels"], y)
    assert {name: (array.shape, array.dtype.name) for name, array in found.items()} == find_data_set(
        "sklearn_tables"
    ).array_shapes


def test_the_published_formats_are_read():
    """One small file of each format; the real ones are verified by their checksums."""
    contents = {file: b"-1 1:2.5 2:1\n+1 2:3 \n" for file, _ in tables.SVMLIGHT_FILES.values()}
    contents["biochem.csv"] = b"a,b,class\n1,2,Abnormal\n3,4,Normal\n"
    contents["heart.csv"] = "\ufeffage,target\n63,1\n41,0\n".encode()
    contents["iris.csv"] = b"Id,w,Species\n1,5.5,Iris-virginica\n"
    found = tables.parse_pfn_tables(contents)
    assert found["fourclass_features"].tolist() == [[2.5, 1], [0, 3]] and found["fourclass_labels"].tolist() == [0, 1]
    assert found["a1a_features"].shape == (2, 123)
    assert found["vertebral_features"].tolist() == [[1, 2], [3, 4]] and found["vertebral_labels"].tolist() == [0, 1]
    assert found["heart_features"].tolist() == [[63], [41]] and found["heart_labels"].tolist() == [1, 0]
    assert found["iris_features"].tolist() == [[5.5]] and found["iris_labels"].tolist() == [2]
    assert {array.dtype.name for name, array in found.items() if name.endswith("features")} == {"float32"}


def test_a_pack_becomes_the_declared_file_and_is_read_back(monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "OPENML_SIZES", {"one": (3, 2, 1), "two": (2, 1, 0)})
    made = {"one/X": np.array([[1, 2], [np.nan, 4], [5, 6]], "f4"), "one/y": np.array([0, 2, 1], "i2")}
    made |= {"one/cat": np.array([1], "i2"), "two/X": np.ones((2, 1), "f4"), "two/y": np.zeros(2, "i2")}
    np.savez(tmp_path / "openml_cc18_small30.npz", **made, **{"two/cat": np.zeros(0, "i2")})
    contents = tables.unpack_npz_bundle(tmp_path)
    found = tables.parse_openml_tables(contents)
    np.testing.assert_array_equal(found["one_features"], made["one/X"])
    assert found["one_labels"].tolist() == [0, 2, 1] and found["one_labels"].dtype == np.int32
    assert found["one_categorical"].tolist() == [1] and found["two_categorical"].shape == (0,)
    again = hashlib.sha256(tables.unpack_npz_bundle(tmp_path)[tables.OPENML_FILE]).hexdigest()
    assert again == hashlib.sha256(contents[tables.OPENML_FILE]).hexdigest()


def test_the_numerical_tables_of_the_suite_are_the_18_of_the_headline():
    assert len(tables.OPENML_SIZES) == 30 and len(tables.NUMERICAL_TABLES) == 18
    assert {"balance-scale", "wdbc", "steel-plates-fault"} <= set(tables.NUMERICAL_TABLES)


class Tensor:
    """Pickles as torch's tensors do, in its legacy format."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __reduce__(self):
        return Global("torch._utils", "_rebuild_tensor_v2"), (Storage(self.values), 0, (2, 3), (1, 2), False, {})


class Storage:
    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __reduce__(self):
        stream = io.BytesIO()
        for part in (0x1950A86A20F9469CFC6C, 1001, {}):
            pickle.dump(part, stream, 2)
        stream.write(pickled(Persistent(("storage", Global("torch", "FloatStorage"), "7", "cpu", 6, None))))
        pickle.dump(["7"], stream, 2)
        stream.write(np.int64(len(self.values)).tobytes() + self.values.astype("<f4").tobytes())
        return Global("torch.storage", "_load_from_bytes"), (stream.getvalue(),)


class Global:
    """A name that nobody has to be able to import."""

    def __init__(self, module: str, name: str) -> None:
        self.__module__, self.__qualname__, self.__name__ = module, name, name

    def __call__(self) -> None: ...


class Persistent:
    def __init__(self, identity: tuple) -> None:
        self.identity = identity


class Pickler(pickle._Pickler):  # the one in Python, whose way of writing names can be replaced
    def persistent_id(self, obj):
        return obj.identity if isinstance(obj, Persistent) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(  # ty: ignore[missing-attribute]
                b"c" + f"{obj.__module__}\n{obj.__name__}\n".encode()
            )
            return
        super().save(obj, save_persistent_id)  # ty: ignore[missing-attribute]


def pickled(obj) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, 3).dump(obj)
    return stream.getvalue()


def test_a_pickle_of_tensors_is_read_without_torch():
    found = load_plain_pickle(
        pickled(["name", Tensor(np.arange(6.0)), [np.int64(3)], {"capped": False}]).replace(
            b"numpy._core", b"numpy.core"
        )
    )
    assert found[0] == "name" and found[2] == [3] and found[3] == {"capped": False}
    assert found[1].tolist() == [[0, 2, 4], [1, 3, 5]]  # strides 1, 2: columns first
    assert not found[1].flags.writeable


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.load", "numpy.load"])
def test_a_pickle_that_names_anything_else_is_refused(name):
    module, _, function = name.rpartition(".")
    with pytest.raises(ValueError, match=f"names {name} is not plain data"):
        load_plain_pickle(f"c{module}\n{function}\n(S'true'\ntR.".encode())


def test_the_two_most_frequent_classes_are_kept():
    kept, second = two_most_frequent_classes([2, 2, 0, 1, 1, 1, 0, 2])
    assert kept.tolist() == [True, True, False, True, True, True, False, True]
    assert second[kept].tolist() == [True, True, False, False, False, True]
    with pytest.raises(BadInput, match="one class"):
        two_most_frequent_classes([1, 1])


def table(n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    y = np.arange(n) % 3 > 0
    x = random.normal(size=(n, 4)) + 2 * y[:, None]
    x[:, 3] = np.arange(n)  # tells rows apart
    return x, y.astype(int)


def test_problems_are_balanced_disjoint_shuffled_and_standardised_by_their_context():
    x, y = table()
    found = sample_problems(x, y, KEY, count=6, rows=40, context=10)
    assert found.train_x.shape == (6, 10, 4) and found.test_x.shape == (6, 30, 4)
    assert (found.train_y.sum(1) == 5).all() and (found.test_y.sum(1) == 15).all()
    np.testing.assert_allclose(found.train_x.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(found.train_x.std(1), 1, atol=1e-5)
    # The last feature identifies a row, up to its standardisation.
    for i in range(6):
        ids = np.concatenate([found.train_x[i, :, 3], found.test_x[i, :, 3]])
        assert len(np.unique(ids)) == 40
        numbers = np.polyfit(np.sort(ids), np.sort(ids), 1)
        assert numbers[0] == pytest.approx(1)
    orders = {tuple(row) for row in found.train_y.tolist()}
    assert len(orders) > 3, "classes come in random order"
    again = sample_problems(x, y, KEY, count=6, rows=40, context=10)
    np.testing.assert_array_equal(found.test_x, again.test_x)
    other = sample_problems(x, y, jax.random.key(1), count=6, rows=40, context=10)
    assert not np.array_equal(found.test_x, other.test_x)


def test_features_keep_their_labels_through_the_shuffling():
    x = np.repeat([[1.0], [5.0]], 60, axis=0)
    y = np.repeat([0, 1], 60)
    found = sample_problems(x, y, KEY, count=2, rows=40, context=10)
    np.testing.assert_array_equal(found.train_x[..., 0] > 0, found.train_y == 1)
    np.testing.assert_array_equal(found.test_x[..., 0] > 0, found.test_y == 1)


def test_standardising_uses_training_rows_only_and_bounds_the_rest():
    train = np.array([[0.0, 3], [2, 3]])
    found, tests = standardise(train, np.array([[1.0, 7], [100, 3]]))
    assert found.tolist() == [[-1, 0], [1, 0]] and tests.tolist() == [[0, 0], [10, 0]]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"rows": 41}, "must be even"),
        ({"context": 40}, "the context the smaller"),
        ({"rows": 120}, "60 rows of each class are needed, not 50 and 100"),
        ({"features": np.full((150, 2), np.nan)}, "missing or infinite"),
    ],
)
def test_what_cannot_be_cut_is_refused(change, line):
    x, y = table()
    arguments = {"features": x, "labels": y, "rows": 40, "context": 10} | change
    with pytest.raises(BadInput, match=line):
        sample_problems(key=KEY, **arguments)


@pytest.mark.parametrize("method", baselines.GRIDS)
def test_every_method_separates_what_can_be_separated(method):
    assert len(baselines.GRIDS[method](4)) == baselines.GRID_SIZE
    random = np.random.default_rng(0)
    y = np.arange(30) % 2
    x = random.normal(size=(30, 3)) + 3 * y[:, None]
    tests = random.normal(size=(40, 3)) + 3 * (np.arange(40) % 2)[:, None]
    p = baselines.tune_and_predict(method, x, y, tests, folds=2, configurations=2)
    assert p.shape == (40,) and ((p >= 0) & (p <= 1)).all()
    assert metrics.roc_auc_score(np.arange(40) % 2, p) > 0.9
    flipped = baselines.tune_and_predict(method, x, 1 - y, tests, folds=2, configurations=2)
    assert metrics.roc_auc_score(np.arange(40) % 2, flipped) < 0.1
    assert (baselines.tune_and_predict(method, x, np.ones(30, int), tests) == 1).all()


def test_the_choice_is_by_held_out_log_loss_and_the_same_folds():
    random = np.random.default_rng(1)
    y = np.arange(30) % 2
    x = random.normal(size=(30, 8)) + 0.4 * y[:, None]
    fold = baselines.assign_stratified_folds(y, 5)
    assert all(np.bincount(y[fold == k]).tolist() == [3, 3] for k in range(5))
    tried = baselines.logistic_regression_grid(8)
    losses = baselines.cross_validation_losses(tried, x, y, 5)
    # Independent: scikit-learn's folds of classes dealt out in turn, and its own score.
    expected = []
    for model in tried:
        p = np.empty(30)
        for k in range(5):
            oracle = LogisticRegression(C=model.C, max_iter=5000, tol=1e-8).fit(x[fold != k], y[fold != k])
            p[fold == k] = oracle.predict_proba(x[fold == k])[:, 1]
        p = np.clip(p, baselines.MIN_PROBABILITY, 1 - baselines.MIN_PROBABILITY)
        expected.append(-np.mean(np.log(np.where(y == 1, p, 1 - p))))
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    chosen = baselines.tune_and_predict("logistic_regression", x, y, x)
    best = tried[int(np.argmin(expected))]
    np.testing.assert_allclose(chosen, best.fit(x, y).predict_proba(x)[:, 1], rtol=1e-6)


def test_unknown_methods_and_bad_rows_are_refused():
    with pytest.raises(BadInput, match="did you mean 'boosted_trees'"):
        baselines.tune_and_predict("boosted_tree", np.ones((2, 1)), np.array([0, 1]), np.ones((1, 1)))
    with pytest.raises(BadInput, match="finite"):
        baselines.tune_and_predict("boosted_trees", np.full((2, 1), np.nan), np.array([0, 1]), np.ones((1, 1)))
    with pytest.raises(BadInput, match="rows of one width"):
        baselines.tune_and_predict("boosted_trees", np.ones((2, 1)), np.array([0, 1]), np.ones((1, 2)))
