"""What a study takes from the one that it is like: above all, deviations are joined."""

import pytest

from core.errors import BadInput
from core.papers.config import load_config
from core.papers.inheritance import expand


def deviation(what: str, *bears_on: str, why: str = "time") -> dict:
    return {"what": what, "why": why} | ({"bears_on": list(bears_on)} if bears_on else {})


CLAIMS = {"C1": {"study": "first"}, "C2": {"study": "second"}}
FIRST = {"deviations": [deviation("length"), deviation("data", "C1"), deviation("network", "C1", "C2")]}


def joined(second: dict, claims: dict = CLAIMS) -> list[str]:
    written = {"studies": {"first": FIRST, "second": {"like": "first"} | second}, "claims": claims}
    return [f"{each['what']}: {each['why']}" for each in expand(written)["studies"]["second"]["deviations"]]


def test_own_deviations_join_those_that_are_inherited() -> None:
    """Those that bear on claims of other studies only are not among them."""
    assert joined({}) == ["length: time", "network: time"]
    own = {"deviations": [deviation("order", why="paired"), deviation("length", why="shorter")]}
    assert joined(own) == ["network: time", "order: paired", "length: shorter"]
    assert joined({}, claims={"C1": {"study": "first"}}) == ["length: time", "data: time", "network: time"]


def test_a_deviation_that_does_not_hold_is_named() -> None:
    assert joined({"no_deviation": ["length"]}) == ["network: time"]
    with pytest.raises(BadInput, match=r"studies.second.no_deviation: 'lengt': did you mean 'length'"):
        joined({"no_deviation": ["lengt"]})


def test_deviations_are_inherited_over_two_studies() -> None:
    studies = {
        "first": FIRST,
        "second": {"like": "first", "deviations": [deviation("order")]},
        "third": {"like": "second"},
    }
    found = expand({"studies": studies, "claims": {**CLAIMS, "C3": {"study": "third"}}})["studies"]
    assert [each["what"] for each in found["third"]["deviations"]] == ["length", "order"]
    assert found["first"]["deviations"] == FIRST["deviations"]


def test_the_papers_say_all_deviations_of_their_studies() -> None:
    studies = load_config("dann").studies
    assert {"images", "blending"} <= {each.what for each in studies["mnist_m"].form.deviations}
    deep = [each.what for each in load_config("lottery_ticket").studies["deep"].form.deviations]
    assert deep == ["networks", "order of batches"], "VGG-19 is trained as long as in the paper"
