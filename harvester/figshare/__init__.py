"""
Everything true of figshare and of nothing else.

`api.py` has the calls, `endpoints.py` says how they are sent; `records.py` turns their JSON into models.
`feeds.py` describes what lists items, `selection.py` what that can be narrowed to, and `lister.py` reads it,
with paging, caps and cursors. `names.py` reads ids, DOIs and handles; `routes.py` knows how a file is
reached. `statistics.py` counts uses, `changes.py` tells versions of a record apart. Each is imported by
itself: a config names selections and needs no calls.

Source of what is documented: the figshare API reference, version 2 (https://docs.figshare.com).
"""
