"""
figshare: everything that is specific to figshare.

`protocol.py` is the interface for other packages. `v2.py` is the API version in use, as data: paths,
decoders, and what each listing endpoint supports. `api.py` implements the protocol, and `rest.py` sends the
requests. `pager.py` reads listings, with `page_request.py`, `cursor.py`, `filters.py` and
`client_side_filters.py`. `records.py` decodes records, `decoding.py` and `lenient.py` JSON in general.
`diff.py` and `staleness.py` compare records. `identifiers.py` reads ids, DOIs and handles, and `resolver.py`
looks them up. `downloads.py` chooses download routes, and `statistics.py` requests usage statistics. Each
module is imported separately, as the config needs filters only.

Source: the figshare API reference, version 2 (https://docs.figshare.com).
"""
