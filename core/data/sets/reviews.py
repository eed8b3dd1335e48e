"""Amazon reviews of four kinds of products: how often each of 5,000 words and word pairs occurs, praise or not."""

import io
from typing import TYPE_CHECKING

from core.data.dataset import DataFile, DataSet, DataSource, FileContents

if TYPE_CHECKING:
    import numpy as np

DOMAINS = ("books", "dvd", "electronics", "kitchen")
FEATURES = 5000
TEST_SIZES = {"books": 4465, "dvd": 3586, "electronics": 5681, "kitchen": 5945}
INK_TRAIN_SIZES = {"books": 288, "dvd": 288, "electronics": 291, "kitchen": 288}
INK_TEST_SIZES = {"books": 72, "dvd": 72, "electronics": 72, "kitchen": 72}
COMMIT = "74eec5e0ae06bd6614bce048abba492c16a633e3"


def parse_amazon_reviews(contents: FileContents) -> dict[str, "np.ndarray"]:
    """For each domain and split counts (n, 5000) uint8 and labels int32 (n,), 1 for praise."""
    arrays = {}
    for domain in DOMAINS:
        for split in ("train", "test"):
            counts, labels = parse_svmlight(contents[f"{domain}_{split}.svmlight"])
            arrays[f"{domain}_{split}"], arrays[f"{domain}_{split}_labels"] = counts, labels
    return arrays


def parse_svmlight(content: bytes) -> tuple["np.ndarray", "np.ndarray"]:
    """A file in the sparse format of SVMlight, indices from 0: counts uint8 (n, 5000), labels int32 (n,)."""
    from sklearn.datasets import load_svmlight_file

    counts, labels = load_svmlight_file(io.BytesIO(content), n_features=FEATURES, zero_based=True)
    return counts.toarray().astype("uint8"), (labels > 0).astype("int32")


def parse_ink_counts(contents: FileContents) -> dict[str, "np.ndarray"]:
    """Digits as documents: of each domain the even digit complains, the odd one praises; every fifth row to test."""
    import numpy as np

    rows = np.loadtxt(contents["digits.csv"].decode().splitlines(), np.int32, delimiter=",")
    arrays = {}
    for number, domain in enumerate(DOMAINS):
        chosen = rows[rows[:, -1] // 2 == number]
        tested = np.arange(len(chosen)) % 5 == 4
        for split, documents in (("train", chosen[~tested]), ("test", chosen[tested])):
            arrays[f"{domain}_{split}"] = documents[:, :-1].astype(np.uint8)
            arrays[f"{domain}_{split}_labels"] = documents[:, -1] % 2
    return arrays


def review_shapes(train: dict[str, int], test: dict[str, int], features: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of counts and labels of every domain and split."""
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for domain in DOMAINS:
        for split, count in (("train", train[domain]), ("test", test[domain])):
            found |= {
                f"{domain}_{split}": ((count, features), "uint8"),
                f"{domain}_{split}_labels": ((count,), "int32"),
            }
    return found


AMAZON_REVIEWS = DataSet(
    name="amazon_reviews",
    title="Amazon reviews of books, DVDs, electronics and kitchenware, as the authors of shallow DANN have them",
    licence="none stated for the reviews (Blitzer et al. 2007); files: BSD-3-Clause",
    shareable=False,
    classes=("complaint", "praise"),
    array_shapes=review_shapes(dict.fromkeys(DOMAINS, 2000), TEST_SIZES, FEATURES),
    files=(
        DataFile("books_train.svmlight", "317f9a2ec34b81de770b63a84d8c5cc2dc16bd0be6e079d2ff5b5bad5213ea19", 1_134_070),
        DataFile("books_test.svmlight", "fe4605c7dcf0e0a9410fd2a32f247caaf9abb352cc6e4c3e0f400853163ad9c4", 2_426_071),
        DataFile("dvd_train.svmlight", "95f602aa08bf6b55758f7b0b18df3882fe30acb11987ee60b6b4bb3c44cba733", 1_133_356),
        DataFile("dvd_test.svmlight", "4fe1b1a15010f78d8d0c49fe362d35fd4677463a45f1ac02a9f410ae1e638060", 2_039_832),
        DataFile(
            "electronics_train.svmlight", "7d0061f03ff3827e4f8036b051b5e5828fddc0cd115aa5b212cd28d624dc14e4", 872_265
        ),
        DataFile(
            "electronics_test.svmlight", "641783bc941839c3a111d3488a1b7e3bd820a61ec14a129e7429b47703aa961d", 2_461_224
        ),
        DataFile("kitchen_train.svmlight", "a70b5ebfe1413e0e16280360905f5c3b64389c435cd20c0165dc9d7f293b31b5", 771_076),
        DataFile(
            "kitchen_test.svmlight", "e1502b97a824eb12314be4447394fa736fecb781c0724e6529cd6733ac7ff6d8", 2_280_620
        ),
    ),
    parse=parse_amazon_reviews,
    sources=(
        DataSource(
            "web",
            f"https://raw.githubusercontent.com/GRAAL-Research/domain_adversarial_neural_network/{COMMIT}/data",
            {
                f"{domain}_{split}.svmlight": f"{domain}_{split}.svmlight"
                for domain in DOMAINS
                for split in ("train", "test")
            },
        ),
    ),
)

INK_COUNTS = DataSet(
    name="ink_counts",
    title="Optical digits taken for documents: ink in 64 places as counts of 64 words, four pairs of digits as domains",
    licence="CC BY 4.0; copy: BSD-3-Clause (scikit-learn)",
    shareable=True,
    classes=("even", "odd"),
    array_shapes=review_shapes(INK_TRAIN_SIZES, INK_TEST_SIZES, 64),
    files=(DataFile("digits.csv", "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8", 264_712),),
    parse=parse_ink_counts,
    package_folder="sklearn:datasets/data",
)

DATA_SETS = (AMAZON_REVIEWS, INK_COUNTS)
