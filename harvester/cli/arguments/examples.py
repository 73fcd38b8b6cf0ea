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
        ("what each rate would mean, for a program", "harvester plan --group 11962 --rate 5 --json"),
    ),
    "list": (
        ("the ids of a group", "harvester list --group 11962"),
        ("what matches a query, with titles", "harvester list --search survey --json"),
        (
            "the datasets of a year",
            "harvester list --group 11962 --type dataset --published-since 2024-01-01",
        ),
    ),
    "status": (
        ("what the folder harvest holds", "harvester status"),
        ("another folder, for a program", "harvester status archive --json"),
        ("for monitoring: a run in the last 8 days", "harvester status archive --check --max-age 8d"),
    ),
    "failed": (
        ("what failed in the folder harvest", "harvester failed"),
        ("what failed, each with its reason", "harvester failed archive --json"),
        ("only what failed, again", "harvester failed archive | harvester run --items - -o archive"),
    ),
    "verify": (
        ("a fixity check of every file", "harvester verify archive"),
        ("for a scheduled job: one JSON object", "harvester verify archive --quiet --json"),
        ("when another run may still use the folder", "harvester verify archive --wait 3600"),
    ),
    "export": (
        ("the tables again, as CSV only", "harvester export archive --formats csv"),
        ("from a harvest that is read-only", "harvester export archive --to tables"),
        ("with the formats of a config file", "harvester export -c harvest.toml"),
    ),
    "doctor": (
        ("whether everything is ready, for a bug report", "harvester doctor"),
        ("whether a folder is ready for a run", "harvester doctor archive"),
        ("this machine alone, without a request", "harvester doctor --offline"),
    ),
    "config": (
        ("what a run in this folder would use, and why", "harvester config"),
        ("with a config file and an option", "harvester config -c harvest.toml --rate 2"),
        ("for a program", "harvester config -c harvest.toml --json"),
    ),
    "init": (
        ("a config to start from, harvest.toml", "harvester init"),
        ("under another name", "harvester init theses.toml"),
    ),
    "sandbox": (
        ("a small figshare on this machine", "harvester sandbox --items 50"),
        ("with a tenth of the connections cut", "harvester sandbox --fault reset=0.1"),
        ("as slow as a busy service", "harvester sandbox --latency 0.5 --rate-cap 5"),
    ),
    "completion": (
        ('the script for bash, as eval "$(…)" in ~/.bashrc', "harvester completion bash"),
        ('for zsh, as eval "$(…)" in ~/.zshrc after compinit', "harvester completion zsh"),
        ("for fish, in ~/.config/fish/completions/harvester.fish", "harvester completion fish"),
    ),
    "help": (
        ("the help of one command", "harvester help run"),
        ("all commands", "harvester help"),
    ),
}
"""The examples of each command."""


def examples_text(examples: Sequence[Example]) -> str:
    """Return examples as the end of a help text."""
    return "\n".join(
        ["examples:", *(line for what, how in examples for line in (f"  {what}:", f"    {how}"))]
    )
