"""
Everything true of figshare and of nothing else.

`api.py` has the calls, with paging, caps and cursors; `records.py` turns their JSON into models;
`selection.py` knows what a listing can be narrowed to; `names.py` reads ids and DOIs; `routes.py` knows how a
file is reached. Each is imported by itself: a config names selections and needs no calls.

Source of what is documented: the figshare API reference, version 2 (https://docs.figshare.com).
"""
