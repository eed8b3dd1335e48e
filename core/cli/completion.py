"""`encore completion`: a bash function that asks `encore` itself what could come next."""

import argparse

from core.launch.options import AXES, DEVICES, option_names
from core.papers.claims import SCALES
from core.papers.config import load_config
from core.papers.config_files import all_slugs
from core.paths import project_root

SCRIPT = """\
_encore() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\\n'
    COMPREPLY=($(encore completion --line "$line" 2>/dev/null))
    local prefix="${line##*[[:space:]]}"
    if [[ "$prefix" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${prefix%"${prefix##*=}"}"}")
    fi
    [[ ${#COMPREPLY[@]} == 1 && "${COMPREPLY[0]}" == *[=.] ]] && compopt -o nospace
}
complete -o nospace -F _encore encore
"""


def main(arguments: argparse.Namespace) -> int:
    """Print the script, or the words that complete a line."""
    if arguments.line is None:
        print(SCRIPT, end="")
        return 0
    for word in candidates(arguments.line):
        print(word)
    return 0


def candidates(line: str) -> list[str]:
    """Words that begin like the last, unfinished one of `line`."""
    from core.cli.main import COMMANDS, commands

    words = line.split()
    last = "" if line.endswith((" ", "\t")) else words.pop()
    if len(words) < 2:
        return _starting(last, COMMANDS)
    if last.startswith("-"):
        return _starting(last, [option for action in commands()[words[1]]._actions for option in action.option_strings])
    if words[1] in ("show", "claims", "publish", "check", "fetch", "board", "sync"):
        return _starting(last, all_slugs())
    return _starting(last, _run_words(words)) if words[1] in ("run", "plan") else []


def _starting(last: str, words: list[str] | tuple[str, ...]) -> list[str]:
    return sorted(word for word in words if word.startswith(last))


def _run_words(words: list[str]) -> list[str]:
    """Every key of a run with its values; settings and studies once the paper is known."""
    slug = next((word.partition("=")[2] for word in words if word.startswith("paper=")), "")
    values = {"scale": SCALES, "device": DEVICES, "axis": AXES, "tracking": ("wandb", "trackio", "none")}
    values["tracking.mode"] = ("offline", "online", "disabled")
    if "-m" in words:
        for key in ("launcher", "sweeper"):
            values[key] = tuple(sorted(path.stem for path in (project_root() / "configs" / key).glob("*.yaml")))
    found = [f"{key}={value}" for key, chosen in values.items() for value in chosen]
    found += [f"{key}=" for key in option_names() if key not in (*values, "paper", "study")]
    if slug not in all_slugs():
        return found + [f"paper={name}" for name in all_slugs()]
    config = load_config(slug)
    names = {name for study in config.studies.values() for name in study.setting_names()}
    return found + [f"study={name}" for name in [*config.studies, "all"]] + [f"settings.{name}=" for name in names]
