"""The JSON schema of configs, by which editors complete and check one while it is typed.

`python -m core.papers.schema` writes `configs/paper.schema.json` anew; a config names it in its first line:

    # yaml-language-server: $schema=../paper.schema.json
"""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from core import files
from core.papers.config import ConfigForm
from core.paths import configs_folder

FILE = "paper.schema.json"


class _WithoutTitles(GenerateJsonSchema):
    """A key is its own title."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


def config_schema() -> dict[str, Any]:
    """What a config may say, as a JSON schema; keys bear the names that configs write (`in`)."""
    schema = ConfigForm.model_json_schema(by_alias=True, schema_generator=_WithoutTitles)
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": "config of a paper", **_tidy(schema)}


def schema_text() -> str:
    """The schema as its file holds it."""
    return json.dumps(config_schema(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _tidy(node: Any) -> Any:
    """The same, shorter: no names of classes, no null for a key that is left out, simple alternatives in one list."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "default" in node and node["default"] is None:
        kinds = [each for each in node["anyOf"] if each != {"type": "null"}]
        rest = {key: value for key, value in node.items() if key not in ("anyOf", "default")}
        node = {**(kinds[0] if len(kinds) == 1 else {"anyOf": kinds}), **rest}
    if all(set(each) == {"type"} for each in node.get("anyOf", ({},))):
        kinds = [each["type"] for each in node["anyOf"] if each["type"] != "integer"]  # a number may be whole
        node = {**{key: value for key, value in node.items() if key != "anyOf"}, "type": kinds}
    kept = {key: _tidy(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    if isinstance(kept.get("description"), str):
        kept["description"] = " ".join(kept["description"].split())
    return kept


def main() -> None:
    """Write the file."""
    files.write_text(configs_folder().parent / FILE, schema_text())


if __name__ == "__main__":
    main()
