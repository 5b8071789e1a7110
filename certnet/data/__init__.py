"""Data sources: built-in sets, CSV and NPZ files, splits and standardisation."""

from certnet.data.builtin import BUILT_IN
from certnet.data.dataset import DataSet, Recipe, Split, Task
from certnet.data.load import load, read_source, source_kind

__all__ = ["BUILT_IN", "DataSet", "Recipe", "Split", "Task", "load", "read_source", "source_kind"]
