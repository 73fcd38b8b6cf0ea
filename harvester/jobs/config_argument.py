"""Argument check of the library's functions: a config, or the path of a folder where no more is needed."""

from __future__ import annotations

import os

from harvester.config import Config
from harvester.errors import UsageError
from harvester.plugins import load_config


def config_of(config: object) -> Config:
    """
    Return the config, or one with the default values for the folder whose path was given.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(config, str | os.PathLike):
        return load_config(output=config)
    return checked(config, "expected a config, as load_config returns it, or the path of a folder")


def checked(config: object, message: str = "expected a config, as load_config returns it") -> Config:
    """
    Return the config.

    Raises:
        UsageError: it is none, such as the path of a folder.
    """
    if isinstance(config, Config):
        return config
    raise UsageError(message)
