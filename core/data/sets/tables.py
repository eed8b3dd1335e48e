"""Small tables for classification: those of two papers on prior-data fitted networks, and those of scikit-learn.

A table called `t` is two arrays, `t_features` float32 (n, d), NaN where a value is missing, and `t_labels` int32 (n,),
classes from 0. Some tables are in several collections under other names: `DUPLICATE_TABLES` lists them.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.dataset import DataFile, DataSet, DataSource, FileContents

if TYPE_CHECKING:
    import numpy as np

PFN_COMMIT = "9c20031b355923bdd456d5fcfe4e98092b016b97"
TABPFN_COMMIT = "ddf5e852c05e42d7032604638ede86c81f9a95ea"
# The same rows (or nearly: one or the other drops or recodes a few) in openml_cc18_small and elsewhere.
DUPLICATE_TABLES = {
    "pfn_small_tabular": {"diabetes": "diabetes", "german": "credit-g", "australian": "credit-approval"},
    "sklearn_tables": {"breast_cancer": "wdbc"},
}
SVMLIGHT_FILES = {  # table: file, features
    "a1a": ("a1a.txt", 123),
    "australian": ("australian.txt", 14),
    "diabetes": ("diabetes.txt", 8),
    "fourclass": ("fourclass.txt", 2),
    "german": ("german.numer.txt", 24),
    "ionosphere": ("ionosphere_scale.txt", 34),
    "splice": ("splice.txt", 60),
}
CSV_FILES = {  # table: file, columns that are no features from the left, names of the classes in order
    "vertebral": ("biochem.csv", 0, ("Abnormal", "Normal")),
    "heart": ("heart.csv", 0, ("0", "1")),
    "iris": ("iris.csv", 1, ("Iris-setosa", "Iris-versicolor", "Iris-virginica")),
}
SKLEARN_FILES = {
    "breast_cancer": "breast_cancer.csv",
    "wine": "wine_data.csv",
    "iris": "iris.csv",
    "digits": "digits.csv",
}
PFN_SIZES = {  # table: rows, features
    "a1a": (1605, 123),
    "australian": (690, 14),
    "diabetes": (768, 8),
    "fourclass": (862, 2),
    "german": (1000, 24),
    "ionosphere": (351, 34),
    "splice": (1000, 60),
    "vertebral": (310, 6),
    "heart": (303, 13),
    "iris": (150, 4),
}
OPENML_FILE = "openml_cc18_small.arrays"
OPENML_SIZES = {  # table: rows, features, how many of them are categories
    "balance-scale": (625, 4, 0),
    "mfeat-fourier": (2000, 76, 0),
    "breast-w": (699, 9, 0),
    "mfeat-karhunen": (2000, 64, 0),
    "mfeat-morphological": (2000, 6, 0),
    "mfeat-zernike": (2000, 47, 0),
    "cmc": (1473, 9, 7),
    "credit-approval": (690, 15, 9),
    "credit-g": (1000, 20, 13),
    "diabetes": (768, 8, 0),
    "tic-tac-toe": (958, 9, 9),
    "vehicle": (846, 18, 0),
    "eucalyptus": (736, 19, 5),
    "analcatdata_authorship": (841, 70, 0),
    "analcatdata_dmft": (797, 4, 4),
    "pc4": (1458, 37, 0),
    "pc3": (1563, 37, 0),
    "kc2": (522, 21, 0),
    "pc1": (1109, 21, 0),
    "banknote-authentication": (1372, 4, 0),
    "blood-transfusion-service-center": (748, 4, 0),
    "ilpd": (583, 10, 1),
    "qsar-biodeg": (1055, 41, 0),
    "wdbc": (569, 30, 0),
    "cylinder-bands": (540, 37, 19),
    "dresses-sales": (500, 12, 11),
    "MiceProtein": (1080, 77, 0),
    "car": (1728, 6, 6),
    "steel-plates-fault": (1941, 27, 0),
    "climate-model-simulation-crashes": (540, 18, 0),
}
INCOMPLETE_TABLES = (
    "breast-w",
    "credit-approval",
    "eucalyptus",
    "cylinder-bands",
    "dresses-sales",
    "MiceProtein",
)  # with missing values
# Numerical and complete: the 18 tables of the headline of Hollmann et al. (2023), Table 1.
NUMERICAL_TABLES = tuple(
    name for name, (_, _, categories) in OPENML_SIZES.items() if not categories and name not in INCOMPLETE_TABLES
)


def table_arrays(features: Any, labels: Any, name: str) -> dict[str, "np.ndarray"]:
    """The two arrays of one table, by their names in a data set."""
    import numpy as np

    return {
        f"{name}_features": np.ascontiguousarray(features, np.float32),
        f"{name}_labels": np.asarray(labels, np.int32),
    }


def parse_pfn_tables(contents: FileContents) -> dict[str, "np.ndarray"]:
    """The ten tables of the PFN repository; of two classes, -1 comes first."""
    from sklearn.datasets import load_svmlight_file

    arrays: dict[str, Any] = {}
    for name, (file, width) in SVMLIGHT_FILES.items():
        features, signs = load_svmlight_file(io.BytesIO(contents[file]), n_features=width, zero_based=False)
        arrays |= table_arrays(features.toarray(), signs > 0, name)
    for name, (file, skipped, classes) in CSV_FILES.items():
        _, *rows = csv.reader(contents[file].decode("utf-8-sig").splitlines())
        labels = [classes.index(row[-1]) for row in rows]
        arrays |= table_arrays([[float(value) for value in row[skipped:-1]] for row in rows], labels, name)
    return arrays


def parse_sklearn_tables(contents: FileContents) -> dict[str, "np.ndarray"]:
    """Comma-separated rows with the class last; all but the digits have a first line of counts and names."""
    import numpy as np

    arrays: dict[str, Any] = {}
    for name, file in SKLEARN_FILES.items():
        lines = contents[file].decode().splitlines()
        rows = np.loadtxt(lines[name != "digits" :], delimiter=",")
        arrays |= table_arrays(rows[:, :-1], rows[:, -1], name)
    return arrays


def parse_openml_tables(contents: FileContents) -> dict[str, "np.ndarray"]:
    """Features and labels of every table, and `t_categorical` int32, the columns whose values are categories."""
    import numpy as np

    stream, arrays = io.BytesIO(contents[OPENML_FILE]), {}
    for name in OPENML_SIZES:
        for part in ("features", "labels", "categorical"):
            arrays[f"{name}_{part}"] = np.lib.format.read_array(stream, allow_pickle=False)
    return arrays


def encode_tables(tables: Mapping[str, tuple[Any, Any, Any]]) -> FileContents:
    """Features, labels and categorical columns of all tables as one file: .npy arrays one after another."""
    import numpy as np

    stream = io.BytesIO()
    for name in OPENML_SIZES:
        for array, dtype in zip(tables[name], ("<f4", "<i4", "<i4"), strict=True):
            np.lib.format.write_array(stream, np.ascontiguousarray(array, dtype), (1, 0), allow_pickle=False)
    return {OPENML_FILE: stream.getvalue()}


def unpack_npz_bundle(folder: Path) -> FileContents:
    """The tables in the bundle with `t/X`, `t/y` and `t/cat`, as one file."""
    import numpy as np

    with np.load(folder / "openml_cc18_small30.npz", allow_pickle=False) as pack:
        return encode_tables(
            {name: (pack[f"{name}/X"], pack[f"{name}/y"], pack[f"{name}/cat"]) for name in OPENML_SIZES}
        )


def unpack_tabpfn_pickle(path: Path) -> FileContents:
    """The tables in the file of the TabPFN repository, as one file.

    It is a pickle of lists with one torch tensor that holds all the rest.
    """
    from core.data.pickles import load_plain_pickle

    found = load_plain_pickle(path.read_bytes())
    return encode_tables({name: (x, y, categorical) for name, x, y, categorical, *_ in found})


def table_shapes(sizes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of tables with so many rows and features, and categorical columns where they are counted."""
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for name, (rows, features, *categories) in sizes.items():
        found |= {f"{name}_features": ((rows, features), "float32"), f"{name}_labels": ((rows,), "int32")}
        found |= {f"{name}_categorical": ((count,), "int32") for count in categories}
    return found


PFN_SMALL_TABULAR = DataSet(
    name="pfn_small_tabular",
    title="Ten small tables, as the authors of prior-data fitted networks have them",
    licence="CC BY 4.0 (UCI) and public domain; copies: Apache-2.0",
    shareable=True,
    classes=(),
    array_shapes=table_shapes(PFN_SIZES),
    files=(
        DataFile("a1a.txt", "eb54c45f1bdb51286f803dd092eb8202b44637a858fc6c4e533a2d64a0d94b4e", 114_818),
        DataFile("australian.txt", "e11b85d6265a6cc8d07e3200fc04557009e6e2407331ea8d7910eddf199c2d1a", 115_308),
        DataFile("diabetes.txt", "419ba20be4862fc53a6fe92e55a84a53ae0075df06632c07592a17d619b5cb23", 75_503),
        DataFile("fourclass.txt", "7b36a3beaa482bd982b8a601a26b7e74ffc39e00a825b5b501bd17b34a56e48f", 25_006),
        DataFile("german.numer.txt", "49cd2d01c2b2908a84db1f1c94e3ec04f772db3a91560af1225edf739f003194", 285_793),
        DataFile("ionosphere_scale.txt", "f7751584264819b6ea908d513180cec6f9d9fad0d54e7f5693407da1e2eaece1", 102_170),
        DataFile("splice.txt", "eee33566cfe8988ec26122460cc712d66c5c5b79b966b259408e803addaa584d", 715_000),
        DataFile("biochem.csv", "80b50d3f36294ea3fec6633ad9040ae71778e79522be086e196b931fb0085e12", 24_650),
        DataFile("heart.csv", "e31e52eb5ee890c1a11a3baef3df95e8174718d5b94b0a8b77665ec3c07328ff", 11_024),
        DataFile("iris.csv", "600ac44f23c2e6e0ae37daac8ceb2baba4df963efa580eb31b3b576b28e34c55", 5_107),
    ),
    parse=parse_pfn_tables,
    sources=(
        DataSource(
            "web",
            f"https://raw.githubusercontent.com/automl/TransformersCanDoBayesianInference/{PFN_COMMIT}/datasets",
            {file: file for file, *_ in (*SVMLIGHT_FILES.values(), *CSV_FILES.values())},
        ),
    ),
    alternatives=("sklearn_tables",),
)

OPENML_CC18_SMALL = DataSet(
    name="openml_cc18_small",
    title="The 30 tables of the OpenML-CC18 suite with at most 2,000 rows, 100 features and 10 classes",
    licence="CC BY 4.0 and public domain, by table (OpenML); collection: Apache-2.0",
    shareable=True,
    classes=(),
    array_shapes=table_shapes(OPENML_SIZES),
    files=(DataFile(OPENML_FILE, "a64a88d8d31e4c99015ba9a479574d8de12ff90ccb7d96aa23301ab0737b35ee", 3_929_748),),
    parse=parse_openml_tables,
    sources=(
        DataSource("placed", "openml_cc18_small30.npz", unpack=unpack_npz_bundle),
        DataSource(
            "archive",
            f"https://raw.githubusercontent.com/automl/TabPFN/{TABPFN_COMMIT}/tabpfn/datasets/"
            "cc_test_datasets_multiclass.pickle",
            unpack=unpack_tabpfn_pickle,
        ),
    ),
    alternatives=("sklearn_tables",),
)

SKLEARN_TABLES = DataSet(
    name="sklearn_tables",
    title="Breast cancer, wine, iris and digits, which scikit-learn brings along",
    licence="CC BY 4.0; copies: BSD-3-Clause (scikit-learn)",
    shareable=True,
    classes=(),
    array_shapes=table_shapes({"breast_cancer": (569, 30), "wine": (178, 13), "iris": (150, 4), "digits": (1797, 64)}),
    files=(
        DataFile("breast_cancer.csv", "fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed", 119_913),
        DataFile("wine_data.csv", "10e8a802908b34f86e5da8ce962f3c806694bc98450a18f61851af59f324bede", 11_157),
        DataFile("iris.csv", "f13ffa8fdd56fd8e6c8d16d4081a3fbd3114bcd0aae4256c43205169cd9d1449", 2_734),
        DataFile("digits.csv", "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8", 264_712),
    ),
    parse=parse_sklearn_tables,
    package_folder="sklearn:datasets/data",
)

DATA_SETS = (PFN_SMALL_TABULAR, OPENML_CC18_SMALL, SKLEARN_TABLES)
