"""`encore new`: config, experiment and maths test of a new paper, as small working examples to write over."""

import argparse
import re
from importlib.resources import files as resources

from core import files
from core.errors import BadInput
from core.papers.config_files import all_slugs
from core.paths import configs_folder, experiment_path, project_root


def main(arguments: argparse.Namespace) -> int:
    """Write a paper's files; none that exists is touched."""
    slug = arguments.paper
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", slug):
        raise BadInput(f"'{slug}' is not a good name: lower-case words joined by underscores, such as layer_norm")
    if slug in all_slugs():
        raise BadInput(f"{slug} has a config already")
    targets = {
        "config.yaml": configs_folder() / f"{slug}.yaml",
        "package.py": experiment_path(slug).with_name("__init__.py"),
        "settings.py": experiment_path(slug).with_name("settings.py"),
        "experiment.py": experiment_path(slug),
        "maths_test.py": project_root() / "tests" / "papers" / f"test_{slug}.py",
    }
    for target in targets.values():
        if target.exists():
            raise BadInput(f"{target.relative_to(project_root())} exists already")
    for template, target in targets.items():
        text = (resources("core.cli") / "templates" / f"{template}.txt").read_text(encoding="utf-8")
        files.write_text(target, text.replace("SLUG", slug))
        print(target.relative_to(project_root()))
    print(f"try it: encore run paper={slug} scale=smoke")
    return 0
