"""The JSON schema of configs: current, true to what is accepted, and named by every config."""

import copy
from pathlib import Path
from typing import Any

import pytest

from core import files
from core.errors import BadInput
from core.papers.config import parse_config
from core.papers.config_files import all_slugs, read_config
from core.papers.schema import FILE, config_schema, schema_text
from core.papers.yaml_reader import read_yaml
from core.paths import configs_folder, project_root
from tests import net, toy
from tests.core.test_clause_forms import PAIRS
from tests.core.test_clause_forms import WRONG as WRONG_FORMS
from tests.core.test_clauses import WRONG as WRONG_CLAUSES
from tests.core.test_config import KEYS, VALUES, changed

jsonschema = pytest.importorskip("jsonschema")
VALIDATOR = jsonschema.Draft202012Validator(config_schema())
FIRST_LINE = f"# yaml-language-server: $schema=../{FILE}\n"
TEMPLATES = sorted((Path(__file__).parents[2] / "core" / "cli" / "templates").rglob("config.yaml.txt"))


def faults(written: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(written)]


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "toy.yaml"
    path.write_text(toy.CONFIG)
    return read_yaml(path)


def test_the_file_is_current() -> None:
    path = project_root() / "configs" / FILE
    assert path.read_text(encoding="utf-8") == schema_text(), "run `make schema`"
    jsonschema.Draft202012Validator.check_schema(files.read_json(path))
    assert len(schema_text()) < 60_000


def test_every_config_names_it_in_its_first_line() -> None:
    for path in [*configs_folder().glob("*.yaml"), *TEMPLATES]:
        assert path.read_text(encoding="utf-8").startswith(FIRST_LINE), path.name
    assert len(TEMPLATES) == 2 and (configs_folder() / ".." / FILE).is_file()


@pytest.mark.parametrize("slug", all_slugs())
def test_the_configs_are_valid(slug: str) -> None:
    assert faults(read_config(slug)) == []


@pytest.mark.parametrize("text", [toy.CONFIG, net.CONFIG, *(path.read_text(encoding="utf-8") for path in TEMPLATES)])
def test_what_we_accept_elsewhere_is_valid_too(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    written = read_yaml(tmp_path / "config.yaml")
    parse_config("any", written)
    assert faults(written) == []
    usual = read_yaml(Path(__file__).with_name("claims_config.yaml"))
    assert faults(usual) == []


@pytest.mark.parametrize(("place", "value", "key", "nearest"), KEYS, ids=map(str, range(len(KEYS))))
def test_unknown_keys_are_marked(place: str, value: Any, key: str, nearest: str, data: dict[str, Any]) -> None:
    assert faults(changed(data, place, copy.deepcopy(value)))


@pytest.mark.parametrize(("place", "value", "said"), VALUES, ids=map(str, range(len(VALUES))))
def test_values_of_the_wrong_kind_are_marked(place: str, value: Any, said: str, data: dict[str, Any]) -> None:
    if "must rise" not in said:  # which no schema can say
        assert faults(changed(data, place, value))


# A claim or a clause alone: what the schema takes, we take, unless names or numbers contradict each other.
MEANING = ("claim C1", "region [", "is above at_most", "must be a finite number")


def claim_of(body: dict[str, Any]) -> dict[str, Any]:
    return {"says": "s", "study": "fit", "control": {"select": {"t": 9}}, **body}


@pytest.mark.parametrize("name", PAIRS)
def test_every_form_of_a_clause_is_valid(name: str, data: dict[str, Any]) -> None:
    short, clauses = PAIRS[name]
    for body in ({"all": [short]}, {"any": clauses}, {"at_least": {"k": 1, "of": clauses}}):
        assert faults(changed(data, "claims/C1", claim_of(body))) == []


WRONG_BODIES = [
    *({"all": [short]} for short, _ in WRONG_FORMS),
    *({"all": [{"metric": "m", "in": [0, 1], **clause}]} for clause, _ in WRONG_CLAUSES),
    *(short for short, _ in WRONG_FORMS),
    {},
    {"all": []},
    {"all": [{}]},
    {"all": [{"metric": "m", "in": [0, 1]}], "any": [{"metric": "m", "in": [0, 1]}]},
    {"at_least": {"k": 0, "of": [{"metric": "m", "in": [0, 1]}]}},
    *({"control": control} for control in ({}, {"name": "x"}, {"swap": {}}, "other", {"a": ["b"]})),
]


@pytest.mark.parametrize("body", WRONG_BODIES, ids=map(str, range(len(WRONG_BODIES))))
def test_wrong_claims_are_marked_unless_it_is_their_meaning(body: dict[str, Any], data: dict[str, Any]) -> None:
    data["metrics"] |= {"m": "points", "predicted": "nats", "observed": "nats"}
    written = changed(data, "claims/C1", claim_of(body))
    with pytest.raises(BadInput) as caught:
        parse_config("any", written)
    said = str(caught.value).removeprefix("configs/paper/any.yaml: ")
    about_names = said.startswith("unknown ") and not said.startswith("unknown key")
    assert faults(written) or about_names or any(word in said for word in MEANING), said
