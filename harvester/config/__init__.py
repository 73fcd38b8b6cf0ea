"""
Configuration of a run: its keys (`keys.py`), and how they are read (`loading.py`).

`tables.py` and `values.py` replace dataclasses and a converter, which are slower to import: every command
reads its config before its first output.
"""

from harvester.config.keys import Concurrency, Config, FileRules, Rates, Retry, Statistics, Timeouts, keys
from harvester.config.loading import Kinds, load

__all__ = [
    "Concurrency",
    "Config",
    "FileRules",
    "Kinds",
    "Rates",
    "Retry",
    "Statistics",
    "Timeouts",
    "keys",
    "load",
]
