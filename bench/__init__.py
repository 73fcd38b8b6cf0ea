"""
`make bench`: how fast the harvester is, beside its references, on one machine.

`measure` runs programs and takes their numbers, `world` and `nginx` serve what is asked for, `cases/` holds
one module a question, `report` and `chart` render docs/explanation/performance.md and its picture from what
`results/` keeps.
"""
