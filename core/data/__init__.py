"""Data sets: what is known (`catalogue`, light), and how their verified arrays are had (`load`, `fetch`)."""

from core.data.catalogue import checksum, describe, names
from core.data.dataset import DataSet
from core.data.loading import fetch, load

__all__ = ["DataSet", "checksum", "describe", "fetch", "load", "names"]
