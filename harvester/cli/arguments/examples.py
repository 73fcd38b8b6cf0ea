"""Examples of the help texts: what each shows, and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Example = tuple[str, str]

BY_ROLE: Sequence[Example] = (
    ("a repository manager: views and downloads of a group, as tables",
     "harvester run --group 11962 --tasks metadata,stats -o report"),
    ("preservation: a collection with all its files, then a fixity check",
     "harvester run --collection 5234234 -o archive && harvester verify archive"),
    ("a data scientist: the records that match a query",
     "harvester run --search ':category: \"Digital Humanities\"' --tasks metadata -o records"),
)  # fmt: skip
"""The examples of `harvester` alone."""

EXAMPLES: Mapping[str, Sequence[Example]] = {
    "run": BY_ROLE,
    "plan": (
        ("how long a harvest takes", "harvester plan --group 11962"),
        ("with a config file", "harvester plan -c harvest.toml"),
    ),
    "list": (
        ("the ids of a group", "harvester list --group 11962"),
        ("what matches a query, with titles", "harvester list --search survey --json"),
    ),
    "status": (
        ("what the folder harvest holds", "harvester status"),
        ("another folder, for a program", "harvester status archive --json"),
        ("for monitoring: a run in the last 8 days", "harvester status archive --check --max-age 8d"),
    ),
    "failed": (
        ("what failed, each with its reason", "harvester failed archive --json"),
        ("only what failed, again", "harvester failed archive | harvester run --items - -o archive"),
    ),
    "verify": (("a fixity check of every file", "harvester verify archive"),),
    "export": (
        ("the tables again, as CSV only", "harvester export archive --formats csv"),
        ("from a harvest that is read-only", "harvester export archive --to tables"),
    ),
    "doctor": (("whether everything is ready, for a bug report", "harvester doctor"),),
    "config": (("what a run would use, and why", "harvester config -c harvest.toml --rate 2"),),
    "init": (("a config to start from", "harvester init harvest.toml"),),
    "sandbox": (
        ("a small figshare on this machine", "harvester sandbox --items 50"),
        ("with a tenth of the connections cut", "harvester sandbox --fault reset=0.1"),
    ),
    "completion": (
        ('the script for bash, as eval "$(…)" in ~/.bashrc', "harvester completion bash"),
        ('for zsh, as eval "$(…)" in ~/.zshrc after compinit', "harvester completion zsh"),
        ("for fish, in ~/.config/fish/completions/harvester.fish", "harvester completion fish"),
    ),
    "help": (("the help of one command", "harvester help run"),),
}
"""The examples of each command."""


def examples_text(examples: Sequence[Example]) -> str:
    """Return examples as the end of a help text."""
    return "\n".join(
        ["examples:", *(line for what, how in examples for line in (f"  {what}:", f"    {how}"))]
    )
