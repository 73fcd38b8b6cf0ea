"""The commented config that `init` writes."""

from __future__ import annotations

from pathlib import Path

from harvester.errors import UsageError

EXAMPLE = "config.example.toml"


def write_example(path: Path) -> None:
    """
    Write a config to start from.

    Raises:
        UsageError: the file exists already, or cannot be written.
    """
    text = _example()
    try:
        with path.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError as exc:
        raise UsageError(f"{path}: already exists; name another file, or remove it first") from exc
    except OSError as exc:
        raise UsageError(f"{path}: cannot be written: {exc.strerror}") from exc


def _example() -> str:
    """Return the commented config: inside the wheel, or at the top of a checkout."""
    from importlib import resources  # noqa: PLC0415 - `--help` does not need it

    packed = resources.files("harvester") / EXAMPLE
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / EXAMPLE).read_text(encoding="utf-8")
