"""
API version 2, as data: its paths, its decoders, and what each listing endpoint can filter, order and page.

Source: the figshare API reference, version 2 (https://docs.figshare.com): Articles, Collections, Projects,
Institutions, Account, Other, Stats.
"""

from harvester.figshare.api_version import ApiVersion, Endpoint, ListingEndpoint, ListingEndpoints, Paging
from harvester.figshare.entries import decode_entries
from harvester.figshare.filters import ORDERS
from harvester.figshare.records import (
    decode_account,
    decode_groups,
    decode_licences,
    decode_raw_list,
    decode_types,
    decode_versions,
    read_article,
)
from harvester.figshare.usage import decode_breakdown, decode_counts, decode_timeline, decode_total

FILTERS = {name: name for name in ("item_type", "published_since", "modified_since")}
CRITERIA = {"query": "search_for", "group": "group", "institution": "institution", "project": "project_id"}
TERMS = {"licence": ':licence: "{}"', "item_type": ':item_type: "{}"'}

SEARCH = ListingEndpoint(
    "articles/search",
    decode_entries,
    method="POST",
    what="a search",
    params=CRITERIA | FILTERS,
    terms=TERMS,
    orders=ORDERS,
    date="published_date",
)
ACCOUNT_SEARCH = ListingEndpoint(
    "account/articles/search",
    decode_entries,
    authorised=True,
    method="POST",
    what="a search in the account",
    params=CRITERIA | FILTERS,
    terms=TERMS,
    orders=ORDERS,
    date="modified_date",
)

V2 = ApiVersion(
    name="v2",
    paging=Paging("page", "page_size", "order", "order_direction", cursor="X-Cursor"),
    endpoints=ListingEndpoints(
        search=SEARCH,
        collection=ListingEndpoint("collections/{collection}/articles", decode_entries, what="a collection"),
        project=ListingEndpoint(
            "projects/{project}/articles",
            decode_entries,
            what="a project",
            past_cap=SEARCH,
            changes=SEARCH,
        ),
        account=ListingEndpoint(
            "account/articles", decode_entries, authorised=True, what="an account", past_cap=ACCOUNT_SEARCH
        ),
        account_search=ACCOUNT_SEARCH,
        institution=ListingEndpoint(
            "account/institution/articles",
            decode_entries,
            authorised=True,
            right="list the items of the token's institution",
            what="the token's institution",
            params=FILTERS,
            orders=("published_date", "modified_date"),
            date="modified_date",
        ),
    ),
    articles=ListingEndpoint(
        "articles", decode_entries, what="all public items", params={"doi": "doi", "handle": "handle"}
    ),
    record=Endpoint("articles/{item_id}", read_article),
    record_version=Endpoint("articles/{item_id}/versions/{version}", read_article),
    private_record=Endpoint("account/articles/{item_id}", read_article, authorised=True),
    file_list=Endpoint("{record}/files", decode_raw_list),
    versions=Endpoint("articles/{item_id}/versions", decode_versions),
    account=Endpoint("account", decode_account, authorised=True),
    groups=Endpoint(
        "account/institution/groups", decode_groups, authorised=True, right="see the institution's groups"
    ),
    licences=Endpoint("licenses", decode_licences),
    own_licences=Endpoint("account/licenses", decode_licences, authorised=True),
    item_types=Endpoint("item_types", decode_types),
    download="file/download/{file_id}",
    group_count=Endpoint("count/articles", decode_counts, method="POST"),
    total=Endpoint("total/{counter}/article/{item_id}", decode_total),
    timeline=Endpoint("timeline/{granularity}/{counter}/article/{item_id}", decode_timeline),
    breakdown=Endpoint("breakdown/{granularity}/{counter}/article/{item_id}", decode_breakdown),
)
