"""Reads a config's YAML by libyaml, more than ten times as fast as OmegaConf does, to the values that Hydra sees."""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

# A number for OmegaConf and in YAML 1.2; YAML 1.1 also wants a dot and a sign in it.
_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Plain data only, dates left as text; a key that is no text, or is given twice, is an error."""

    yaml_implicit_resolvers = {  # noqa: RUF012  the loader's own attribute
        first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping of plain data. Raises ConstructorError for a key that is no text, or is given twice."""
        keys = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if key.tag != "tag:yaml.org,2002:str":
                # In {laptop: 20,000} the comma begins a second key, 0.
                found = getattr(key, "value", "")
                raise ConstructorError(
                    None, None, f"the key {found} is no text: quote it, or the comma", key.start_mark
                )
        names = [key.value for key in keys]
        for position, key in enumerate(keys):
            if key.value in names[:position]:
                raise ConstructorError(None, None, f"found duplicate key {key.value}", key.start_mark)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises OSError, ValueError or yaml.YAMLError."""
    loader = _Loader(path.read_text(encoding="utf-8"))
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
