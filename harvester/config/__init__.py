"""
Configuration of a run: the keys (`keys.py`), and how they are read (`loading.py`).

`tables.py` and `values.py` do for them what dataclasses and a converter would, without their price: every
command reads its config before it says anything.
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
