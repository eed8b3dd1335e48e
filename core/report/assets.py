"""The scripts of the pages: what stands in each of them, and the plotting library that lies beside them."""

import base64
import hashlib
import importlib.util
from pathlib import Path

from markupsafe import Markup

from core.errors import BadInput

PLOTLY_FILE = "plotly.min.js"


def plotly_path() -> Path:
    """plotly.js as the installed package carries it; the package itself is not imported."""
    found = importlib.util.find_spec("plotly")
    for folder in found.submodule_search_locations or () if found else ():
        path = Path(folder) / "package_data" / PLOTLY_FILE
        if path.is_file():
            return path
    raise BadInput("plotly.js is not installed, which draws the curves of the report: make the environment again")


class ScriptAssets:
    """The scripts beside the templates, by name, and the policy that lets a page run these alone."""

    def __init__(self, folder: Path) -> None:
        self._texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.js"))}

    def script_tag(self, name: str) -> Markup:
        """The element with a script of ours in it."""
        return Markup("<script>" + self._texts[name] + "</script>")

    @property
    def content_security_policy(self) -> str:
        """A content security policy: our own scripts by their sums, the library from beside the page, nothing else."""
        sums = [hashlib.sha256(text.encode()).digest() for text in self._texts.values()]
        allowed = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in sums)
        return (
            "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self' file: data: blob:; "
            f"style-src 'unsafe-inline'; script-src 'self' file: {allowed}"
        )
