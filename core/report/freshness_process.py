"""How fresh published results are, in words, and a second process that finds it out while configs are being made."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.papers.config import PaperConfig

CURRENT, STALE, EDITED, UNKNOWN = "current", "stale", "edited by hand", "unknown"
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Freshness:
    """The state of one published study, one of the words above, and what it comes from."""

    scale: str
    study: str
    state: str
    reason: str


class FreshnessProcess:
    """Asks every config how fresh its published results are, in a process of its own that is started at once."""

    def __init__(self, results: Path) -> None:
        command = [sys.executable, "-m", "core.report.freshness", str(results)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
        )

    def freshness_of(self, config: PaperConfig) -> list[Freshness]:
        """The answer about one paper; unknown where there is none."""
        return [Freshness(*each) for each in self._answers.get(config.slug, [])]

    @cached_property
    def _answers(self) -> dict[str, Any]:
        try:
            answer, said = self._process.communicate(timeout=TIMEOUT_SECONDS)
            return dict(json.loads(answer)) if answer else self._unknown(said)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return self._unknown(f"not answered within {TIMEOUT_SECONDS:.0f} s")

    def _unknown(self, why: str) -> dict[str, Any]:
        from core.papers.config_files import all_slugs

        last = (why.strip().splitlines() or ["no answer"])[-1]
        return {slug: [("", "", UNKNOWN, last)] for slug in all_slugs()}
