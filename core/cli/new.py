"""`encore new`: the files of a new paper, as a small working example to write over."""

import argparse
import keyword
import re
import sys
from importlib.resources import files as resources

from core import files
from core.errors import BadInput
from core.papers.config import load_config
from core.papers.config_files import all_slugs
from core.paths import configs_folder, experiment_path, project_root, published_folder
from core.terminal import short_path

TAKEN = ("all", "core", "configs", "experiments", "tests", "benchmarks", "results", "docs", "test")
VALUES = ("null", "none", "true", "false", "yes", "no", "on", "off", "inf", "nan")  # no words where a paper is named
LONGEST = 40  # letters of a name


def main(arguments: argparse.Namespace) -> int:
    """Write a paper's files, of which none may exist, and list it in the README."""
    slug = arguments.paper
    if slug in VALUES or slug in TAKEN or keyword.iskeyword(slug) or slug in sys.stdlib_module_names:
        raise BadInput(f"'{slug}' has a meaning already: choose another name, such as {slug}_paper")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", slug) or len(slug) > LONGEST:
        raise BadInput(
            f"'{slug}' is not a good name: lower-case words joined by underscores, such as layer_norm, in at most "
            f"{LONGEST} letters"
        )
    if slug in all_slugs():
        raise BadInput(f"{slug} has a config already")
    targets = {
        "config.yaml": configs_folder() / f"{slug}.yaml",
        "package.py": experiment_path(slug).with_name("__init__.py"),
        "settings.py": experiment_path(slug).with_name("settings.py"),
        "experiment.py": experiment_path(slug),
        "maths_test.py": project_root() / "tests" / "papers" / f"test_{slug}.py",
    }
    for target in (*targets.values(), project_root() / "tests" / f"test_{slug}.py"):
        if target.exists():
            raise BadInput(f"{short_path(target)} exists already: choose another name")
    for target in targets.values():
        try:
            files.check_can_write(target.parent)
        except OSError as error:
            raise BadInput(
                f"cannot write {short_path(target)}: {error.strerror or error}; ENCORE_ROOT names the checkout"
            ) from None
    kind = "supervised" if arguments.supervised else "plain"
    for template, target in targets.items():
        text = (resources("core.cli") / "templates" / kind / f"{template}.txt").read_text(encoding="utf-8")
        files.write_text(target, text.replace("SLUG", slug))
        print(short_path(target))
    update_readme_table()
    print(f"try it: encore run paper={slug} scale=smoke; docs/paper.md says how to go on")
    return 0


def update_readme_table() -> None:
    """Bring the README's table of papers up to date, where there is one."""
    from core.report import readme_table

    readme = project_root() / "README.md"
    configs = [load_config(slug) for slug in all_slugs()]
    if readme.is_file() and readme_table.update_readme(readme, configs, published_folder()):
        print(f"{short_path(readme)}: the table of papers and the drawing of effects were renewed")
