"""One folder per paper. Those of a project elsewhere (`ENCORE_ROOT`) come first."""

from core.paths import project_root

__path__.insert(0, str(project_root() / "experiments"))
