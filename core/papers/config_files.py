"""The files behind the configs, read as they are: light enough for lists of many papers."""

from typing import Any

from core.errors import BadInput
from core.paths import configs_folder


def all_slugs() -> list[str]:
    """Every paper that has a config."""
    return sorted(path.stem for path in configs_folder().glob("*.yaml"))


def read_config(slug: str) -> dict[str, Any]:
    """What stands in a config, unchecked. Raises BadInput when it is no YAML mapping with the necessary parts."""
    from yaml import YAMLError

    from core.papers.yaml_reader import read_yaml

    try:
        written = read_yaml(configs_folder() / f"{slug}.yaml")
    except (YAMLError, OSError, ValueError) as error:
        raise BadInput(f"configs/paper/{slug}.yaml cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(written, dict):
        raise BadInput(f"configs/paper/{slug}.yaml is not a group of keys")
    return {str(key): value for key, value in written.items()}
