"""Amazon product reviews of four kinds: how often each of 5,000 words and word pairs occurs, and whether it is praise."""

from typing import TYPE_CHECKING

from core.data.dataset import Contents, DataSet, File, Source

if TYPE_CHECKING:
    import numpy as np

DOMAINS = ("books", "dvd", "electronics", "kitchen")
FEATURES = 5000
TRAIN, TEST = 2000, {"books": 4465, "dvd": 3586, "electronics": 5681, "kitchen": 5945}
COMMIT = "74eec5e0ae06bd6614bce048abba492c16a633e3"


def read(contents: Contents) -> dict[str, "np.ndarray"]:
    """For each domain and part `<domain>_<part>` counts (n, 5000) uint8 and `<domain>_<part>_labels` (n,), 1 is praise."""
    arrays = {}
    for domain in DOMAINS:
        for part in ("train", "test"):
            counts, labels = dense(contents[f"{domain}_{part}.svmlight"])
            arrays[f"{domain}_{part}"], arrays[f"{domain}_{part}_labels"] = counts, labels
    return arrays


def dense(content: bytes) -> tuple["np.ndarray", "np.ndarray"]:
    """A file in the sparse format of SVMlight, `label index:count …` with indices from 0: counts uint8, labels int32."""
    import numpy as np

    lines = content.decode("ascii").splitlines()
    counts, labels = np.zeros((len(lines), FEATURES), np.uint8), np.zeros(len(lines), np.int32)
    for row, line in enumerate(lines):
        label, *entries = line.split()
        labels[row] = float(label) > 0
        for entry in entries:
            index, _, count = entry.partition(":")
            counts[row, int(index)] = int(float(count))
    return counts, labels


ARRAYS = {
    f"{domain}_{part}{kind}": ((count, FEATURES), "uint8") if not kind else ((count,), "int32")
    for domain in DOMAINS
    for part, count in (("train", TRAIN), ("test", TEST[domain]))
    for kind in ("", "_labels")
}

AMAZON_REVIEWS = DataSet(
    name="amazon_reviews",
    title="Amazon reviews of books, DVDs, electronics and kitchenware, as the authors of the shallow DANN distribute them",
    licence="none stated for the reviews (Blitzer et al. 2007); files: BSD-3-Clause",
    shareable=False,
    classes=("complaint", "praise"),
    arrays=ARRAYS,
    files=(
        File("books_train.svmlight", "317f9a2ec34b81de770b63a84d8c5cc2dc16bd0be6e079d2ff5b5bad5213ea19", 1_134_070),
        File("books_test.svmlight", "fe4605c7dcf0e0a9410fd2a32f247caaf9abb352cc6e4c3e0f400853163ad9c4", 2_426_071),
        File("dvd_train.svmlight", "95f602aa08bf6b55758f7b0b18df3882fe30acb11987ee60b6b4bb3c44cba733", 1_133_356),
        File("dvd_test.svmlight", "4fe1b1a15010f78d8d0c49fe362d35fd4677463a45f1ac02a9f410ae1e638060", 2_039_832),
        File("electronics_train.svmlight", "7d0061f03ff3827e4f8036b051b5e5828fddc0cd115aa5b212cd28d624dc14e4", 872_265),
        File("electronics_test.svmlight", "641783bc941839c3a111d3488a1b7e3bd820a61ec14a129e7429b47703aa961d", 2_461_224),
        File("kitchen_train.svmlight", "a70b5ebfe1413e0e16280360905f5c3b64389c435cd20c0165dc9d7f293b31b5", 771_076),
        File("kitchen_test.svmlight", "e1502b97a824eb12314be4447394fa736fecb781c0724e6529cd6733ac7ff6d8", 2_280_620),
    ),
    read=read,
    sources=(
        Source(
            "web",
            f"https://raw.githubusercontent.com/GRAAL-Research/domain_adversarial_neural_network/{COMMIT}/data",
            {f"{domain}_{part}.svmlight": f"{domain}_{part}.svmlight" for domain in DOMAINS for part in ("train", "test")},
        ),
    ),
)

DATA_SETS = (AMAZON_REVIEWS,)
