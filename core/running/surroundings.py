"""What a run needs of the machine, checked in milliseconds, before any library for numbers is loaded."""

import errno

from core import files
from core.errors import BadInput, Interrupted
from core.launch.compose import Launch
from core.paths import runs_folder
from core.planning.machine import check_device
from core.terminal import short_path


def check_surroundings(launch: Launch) -> None:
    """Refuse a run whose results cannot be written, or that wants an accelerator where none is; nothing is left behind.

    Raises BadInput, or Interrupted where the disk is full.
    """
    check_device(launch.device)
    check_results_folder()


def check_results_folder() -> None:
    """Raise BadInput where results cannot be written, and Interrupted where the disk is full."""
    try:
        files.check_can_write(runs_folder())
    except OSError as error:
        raise results_error(error) from None


def results_error(error: OSError) -> BadInput | Interrupted:
    """What to say when results cannot be written."""
    if error.errno == errno.ENOSPC:
        return Interrupted("the disk is full: free some space and give the same command again")
    where = short_path(runs_folder())
    return BadInput(f"cannot write results to {where} ({error.strerror or error}): ENCORE_RESULTS names another folder")
