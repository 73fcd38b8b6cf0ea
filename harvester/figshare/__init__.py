"""
figshare: everything that is true of figshare and of nothing else.

`protocol.py` is what the other packages see. `v2.py` is the API version in use, as data: paths, decoders, and
what each listing endpoint can do. `api.py` implements the protocol, and `rest.py` sends the requests.
`pager.py` reads listings, with `page_request.py`, `cursor.py`, `filters.py` and `client_side_filters.py`.
`records.py` decodes records, `decoding.py` and `lenient.py` JSON in general. `diff.py` and `staleness.py`
compare records. `identifiers.py` reads ids, DOIs and handles, and `resolver.py` looks them up.
`downloads.py` knows the routes to a file, and `statistics.py` counts uses. Each module is imported by itself:
a config names filters and needs no calls.

Source of what is documented: the figshare API reference, version 2 (https://docs.figshare.com).
"""
