"""Figures of the tangent kernel."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def figures(measurements: "pd.DataFrame", arrays: dict[str, Any]) -> dict[str, "Figure"]:
    """None yet."""
    return {}
