"""
`make bench`: how fast the harvester is, compared with references on the same machine.

`measure` runs programs and takes their numbers, `world` and `nginx` are the servers, `cases/` has
one module a question, `report` and `chart` render docs/explanation/performance.md and its picture from what
`results/` keeps.
"""
