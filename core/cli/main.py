"""Entry of the command line: one parser per sub-command, whose work is imported only when it is asked for."""

import argparse
import errno
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from core import output, paths
from core.errors import BadInput, EncoreError, Unfinished, suggest

COMMANDS = (
    "run", "sweeps", "list", "show", "claims", "plan", "fetch", "report", "board", "sync", "publish", "check", "new",
    "completion",
)  # fmt: skip

NEW = """\
Write the config, the settings, the experiment and the test of a new paper, which work at once and pass the tests.

  encore new my_paper                    descent in a bowl: the smallest paper there is
  encore new my_paper --supervised       a network trained on labelled examples, with a control and a declared figure

docs/paper.md goes from there to the published verdict.
"""

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")

ABOUT = """\
Published experiments, performed again. Each run ends in a verdict on the paper's own claims.

  encore list                               every paper with its verdicts
  encore claims lottery_ticket              what it claims, what was measured, and the verdicts
  encore show lottery_ticket                its reference, claims, studies and settings
  encore run paper=lottery_ticket           perform it at laptop scale
"""

RUN = """\
Perform the experiments of a paper and judge its claims.

  encore run paper=lottery_ticket                          the config's default studies at laptop scale
  encore run paper=lottery_ticket scale=smoke              small, in a minute or a few; decides nothing
  encore run paper=lottery_ticket study=conv               one study; study=[lenet,conv] several; study=all every one
  encore run paper=lottery_ticket settings.training.iterations=2000 another value (encore show lists them)
  encore run paper=lottery_ticket first_replicate=1000     the same on fresh random replicates
  encore run paper=lottery_ticket replicates=11            more replicates; those already computed are reused
  encore run -m paper=lottery_ticket settings.optimizer.learning_rate=6e-4,1.2e-3   a sweep

keys of a run
  paper=<name>             required
  scale=laptop             smoke | laptop | paper (the published setting, for accelerators)
  study=<name>             one study, a list, or all
  settings.<name>=<value>  a setting of every selected study that has it; it wins over the scale
  studies.<study>.settings.<name>=<value>   a setting of one study
  replicates=<n>           how many; first_replicate=<k> where they start (0 for published results)
  device=auto              auto | cpu | accelerator; workers=<n> processes on a CPU; axis=auto | loop | vmap | pmap
  tracking=wandb           wandb | trackio (encore board) | none; tracking.mode=offline | online | disabled,
                           tracking.project=…, also entity, group, tags=[…], notes
  budget.minutes=120       refuse to start when the forecast is longer
  hosts.coordinator=…, hosts.count=…, hosts.index=…   one of several processes that share the work (srun: by itself)

sweeps: with -m every key of a run can name several values, as a,b,c or range(1,9,2), papers and replicates too
  encore run -m paper=lottery_ticket study=lenet launcher=joblib workers=1 settings.pruning.rounds=12,15
  launcher=local           local | vectorised | joblib | slurm | slurm_local | ray; launcher.<key>=<value> its options
  sweeper=grid             grid: all combinations | tpe: search; sweeper.trials=20, sweeper.seed=…; axes of a search may
                           be 'interval(0.1,1)', 'tag(log,interval(1e-4,1))', 'int(interval(2,9))'
  objective.metric=<name>  what is better: a measurement on validation data, never on test data
  objective.direction=min  min | max; objective.study=, objective.arm=, objective.select.<column>= name one number
  points=[4,7]             only these points, by the numbers that `encore sweeps <id>` shows
The same command goes on where a sweep was stopped; given in two terminals, they share it. `encore sweeps` shows it.

exit codes: 0 finished, whatever the verdicts; 2 bad input; 3 over budget; 4 data missing; 75 interrupted, give the same
command again to go on. A sweep ends with 0 when every point is finished, with the code of its failures (1 when they
differ), and with 75 when it was stopped or left points interrupted
"""

BOARD = """\
Curves of running and finished runs in a browser, without an account: arms, replicates and points of a sweep over each
other, filtered and grouped by arm, replicate and settings. Served on 127.0.0.1 only; no network is used.

  encore board                              every local run, however it was tracked
  encore board lottery_ticket --port 8000   one paper, another port

Needs Trackio, which the environment of `make` has: pip install 'encore-papers[trackio]'
"""

SYNC = """\
Upload runs that were mirrored offline to Weights & Biases, each once. A run that has changed since, or whose mirror was
cut short, is mirrored anew from its files first. Needs a key (`wandb login`, or WANDB_API_KEY).

  encore sync                               all that waits
  encore sync lottery_ticket --rebuild      every run of a paper, made anew, however it was tracked

exit codes: 0 everything is uploaded; 2 bad input or no key; 75 the server cannot be reached, give the same command
again
"""


PLAN = """\
What runs would do and cost: minutes, memory and operations, from shapes and from earlier runs here; computing nothing.
Takes the same keys as `encore run`; paper= may name several, or all.

  encore plan paper=lottery_ticket study=all scale=paper           on this machine
  encore plan paper=all scale=paper --on h100 --count 8            on accelerators, from their published peaks
  encore plan paper=all study=all --within 30                      which runs decide the most claims in half an hour
  encore plan -m paper=lottery_ticket study=lenet settings.pruning.rounds=9,12   a sweep
  encore plan --check                                              how good the forecasts of earlier runs were

With budget.minutes=… a plan that takes longer is refused (exit code 3), as the run would be.
"""


SWEEPS = """\
Progress and best points of the sweeps that were started here, the newest first.

  encore sweeps                  every sweep: points, states, the best one
  encore sweeps 3fa2             the points of the sweep whose identity begins so
"""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line with the nearest valid choice."""

    summary = ""

    def error(self, message: str) -> NoReturn:
        """Turn argparse's complaint into `BadInput`."""
        raise BadInput(f"{message}; `{self.prog} --help` explains")

    def print_help(self, file: Any = None) -> None:
        """Print the help; a failure to do so is no secret, as it is with argparse."""
        print(self.format_help(), end="", file=file)


def parser() -> Parser:
    """The parser of the bare command, which knows the sub-commands for its help."""
    root = Parser(prog="encore", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = root.add_subparsers(dest="command", metavar="command", parser_class=Parser)
    for name, each in commands().items():
        listed.add_parser(name, help=each.summary, add_help=False)
    return root


def commands() -> dict[str, Parser]:
    """The parsers of all sub-commands by name."""
    made: dict[str, Parser] = {}

    def command(name: str, help: str, about: str = "") -> Parser:
        style = argparse.RawDescriptionHelpFormatter
        made[name] = Parser(prog=f"encore {name}", description=about or help, formatter_class=style)
        made[name].summary = help
        return made[name]

    run = command("run", "perform a paper's experiments and judge its claims", RUN)
    run.add_argument("overrides", nargs="*", metavar="key=value")
    run.add_argument("-m", "--multirun", action="store_true", help="sweep over every key that names several values")
    run.add_argument("--cfg", choices=["job", "hydra", "all"], help="print the composed config and stop")
    run.add_argument("--resolve", action="store_true", help="with --cfg: interpolations replaced by their values")
    run.add_argument("-p", "--package", help="with --cfg: just this part, such as studies.lenet.settings")
    run.add_argument("--info", nargs="?", const="all", choices=INFO, help="have Hydra say what it composes from")
    run.add_argument("--config-dir", "-cd", metavar="DIR", help="a folder with presets of your own: +preset=mine")
    run.add_argument("--hydra-help", action="store_true", help="Hydra's own help")
    _add_json(run, "what came of it")

    sweeps = command("sweeps", "progress and best points of the sweeps that were started here", SWEEPS)
    sweeps.add_argument("sweep", nargs="?", help="the first digits of a sweep's identity: its table of points")
    _add_json(sweeps)

    listing = command("list", "every paper with field, claims, verdicts and minutes")
    listing.add_argument("--field", help="only papers of this field")
    _add_json(listing)

    show = command("show", "a paper's reference, idea, claims and studies; a study's settings, arms and deviations")
    show.add_argument("paper")
    show.add_argument("study", nargs="?", help="the settings, arms and deviations of this study")
    _add_json(show)

    claims = command("claims", "a paper's claims, what it prints, what was published here, and the verdicts")
    claims.add_argument("paper")
    claims.add_argument("--scale", default="laptop", choices=["laptop", "paper"], help="by default laptop")

    plan = command("plan", "what runs would do and cost, computing nothing", PLAN)
    plan.add_argument("overrides", nargs="*", metavar="key=value")
    plan.add_argument("-m", "--multirun", action="store_true", help="plan a sweep over keys that name several values")
    plan.add_argument("--on", metavar="ACCELERATOR", help="forecast for a named accelerator, e.g. h100")
    plan.add_argument("--count", type=int, default=1, help="how many of them (default 1)")
    plan.add_argument("--efficiency", type=float, default=0.3, help="share of its peak that is reached (default 0.3)")
    plan.add_argument("--within", type=float, metavar="MINUTES", help="pick the runs that decide the most claims")
    plan.add_argument("--check", action="store_true", help="hold the forecasts of earlier runs against what they took")
    plan.add_argument("--document", action="store_true", help="write docs/cost.md: every paper on 1, 8 and 64 H100")
    _add_json(plan)

    fetch = command("fetch", "fill the data cache for some papers, e.g. on a login node with network")
    fetch.add_argument("names", nargs="+", metavar="name", help="names of papers or of data sets, or all")
    fetch.add_argument(
        "--every-study", action="store_true", help="also the data of studies and scales not run by default"
    )

    _add_dashboards(command)

    _add_published(command)

    new = command("new", "write the files of a new paper, as a small working example", NEW)
    new.add_argument("paper")
    new.add_argument("--supervised", action="store_true", help="a paper that trains a network on labelled examples")

    completion = command(
        "completion",
        'tab completion for bash: eval "$(encore completion)"',
        'Add to ~/.bashrc: eval "$(encore completion)"',
    )
    completion.add_argument("--line", help=argparse.SUPPRESS)
    return made


def _add_json(command: Parser, what: str = "the same") -> None:
    command.add_argument("--json", action="store_true", help=f"print {what} as one JSON document (docs/json.md)")


def _add_published(command: Callable[..., Parser]) -> None:
    publish = command("publish", "copy a finished, unmodified run to results/<paper>/<scale>/")
    publish.add_argument("paper")
    publish.add_argument("--scale", default="laptop", choices=["laptop", "paper"])
    publish.add_argument("--study", action="append", help="only this study (repeatable); by default every finished one")

    check = command("check", "which published results are current, stale or edited by hand")
    check.add_argument("papers", nargs="*", metavar="paper", help="names of papers; by default all")
    check.add_argument("--spot", action="store_true", help="compute one published replicate again and compare")
    check.add_argument(
        "--remake", action="store_true", help="make verdicts and figures again where only their logic changed"
    )
    check.add_argument(
        "--confirm",
        action="store_true",
        help="where only code or libraries changed, compute one replicate again; equal bits keep the result current",
    )
    _add_json(check)


def _add_dashboards(command: Callable[..., Parser]) -> None:
    report = command("report", "build the static site of all results, by default results/report/index.html")
    report.add_argument(
        "--out", metavar="FOLDER", help="write it there instead of results/report or $ENCORE_RESULTS/report"
    )
    report.add_argument(
        "--readme", action="store_true", help="also renew the README's table of papers and its drawing of effects"
    )

    board = command("board", "curves of running and finished runs in a browser, on this machine alone", BOARD)
    board.add_argument("papers", nargs="*", metavar="paper", help="names of papers; by default all")
    board.add_argument("--port", type=int, default=7860, help="port on 127.0.0.1 (default 7860)")
    board.add_argument("--no-browser", action="store_true", help="print the address and open no browser")

    sync = command("sync", "upload finished offline runs to Weights & Biases", SYNC)
    sync.add_argument("papers", nargs="*", metavar="paper", help="names of papers; by default all that were mirrored")
    sync.add_argument("--rebuild", action="store_true", help="first make the mirrors anew from the files of the runs")
    sync.add_argument("--project", help="another project than the one that was asked for")
    sync.add_argument("--entity", help="another account or team")


def _check_root() -> None:
    """Refuse to work in a folder that is no checkout."""
    root = paths.project_root()
    if not (root / "configs" / "run.yaml").is_file():
        raise BadInput(f"{root} is no checkout, it has no configs/run.yaml: ENCORE_ROOT names the folder of one")


def _command_hint(word: str) -> str:
    """What a word in the place of a command may have meant: the nearest command, or what to do with a paper."""
    from core.papers.config_files import all_slugs

    if word in all_slugs():
        return f"it is a paper: encore show {word}, or encore run paper={word}"
    return suggest(word, COMMANDS)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; every expected error is one line on stderr and an exit code."""
    output.prepare_output()
    try:
        try:
            return _perform(list(sys.argv[1:] if words is None else words))
        finally:
            output.flush_output()
    except EncoreError as error:
        # One line: where a signal comes in the middle of OmegaConf's work, that adds lines of its own.
        return _tell(str(error).partition("\n")[0], error.exit_code)
    except KeyboardInterrupt:
        return _tell("stopped", Unfinished.exit_code)
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        output.discard_output()
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _tell("the disk is full: free some space and give the same command again", Unfinished.exit_code)
        place = f"{error.filename}: " if error.filename is not None else ""
        return _tell(f"{place}{error.strerror or error}", EncoreError.exit_code)


def _perform(words: Sequence[str]) -> int:
    if not words or words[0].startswith("-"):
        parser().parse_args(words)
        parser().print_help()
        return 0
    if words[0] not in COMMANDS:
        raise BadInput(f"unknown command '{words[0]}': {_command_hint(words[0])}")
    parsed = commands()[words[0]].parse_intermixed_args(words[1:])
    _check_root()
    return importlib.import_module(f"core.cli.{words[0]}").main(parsed)


def _tell(line: str, code: int) -> int:
    """Say why a command ends, where anybody listens, and return its exit code."""
    output.print_error(f"encore: {line}")
    return code
