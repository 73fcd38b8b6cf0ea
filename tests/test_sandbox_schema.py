"""The sandbox's replies agree with figshare's own description of the api, where that is at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pydantic
import pytest
from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError

from harvester.sandbox import Sandbox, Settings, World

pytestmark = pytest.mark.anyio

DESCRIPTION = Path(__file__).parents[2] / "shared" / "figshare" / "openapi-v2.json"
SAMPLES = DESCRIPTION.parent / "samples"
needs_description = pytest.mark.skipif(not DESCRIPTION.is_file(), reason="figshare's description is not here")

# What real replies do although the description says otherwise:
AS_IN_THE_WILD = {
    "None is not of type 'string'": "resource_title, resource_doi, embargo_date, description may be null",
    "None is not of type 'integer'": "group_id is null in a record",
    "'folder_structure' is a required property": "absent where no folders are used",
    "None is not of type 'array'": "tags, categories, references, files may be null",
    "None is not of type 'object'": "license may be null",
    "'first_name' is a required property": "authors often have a full name only",
    "'last_name' is a required property": "authors often have a full name only",
    "'keywords' is a required property": "absent in one of the two collected records",
    "'survey' is not of type 'object'": "the value of a custom field is a text, a number or a list",
    "'posted' is a required property": "a draft has no timeline",
}


def validator(path: str, method: str = "get") -> Draft4Validator:
    contents = orjson.loads(DESCRIPTION.read_bytes())
    schema = contents["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    return Draft4Validator({**schema, "components": contents["components"]})


def disagreements(checker: Draft4Validator, reply: Any) -> Iterator[str]:
    for error in checker.iter_errors(reply):
        yield from (leaf.message for leaf in leaves(error))


def leaves(error: ValidationError) -> Iterator[ValidationError]:
    if error.context:
        for inner in error.context:
            yield from leaves(inner)
    else:
        yield error


async def reply(session: aiohttp.ClientSession, method: str, url: str, **more: Any) -> Any:
    async with session.request(method, url, **more) as response:
        assert response.status == 200
        return await response.json()


@needs_description
async def test_every_route_s_reply_agrees_with_the_description() -> None:
    authorised = {"headers": {"Authorization": "token sandbox-token"}}
    settings = Settings(items=60, own_public=4, private_items=6)
    async with Sandbox(settings) as sandbox, aiohttp.ClientSession() as session:
        checks: list[tuple[str, str, str, dict[str, Any]]] = [
            ("/articles", "get", "/articles?page_size=200", {}),
            (
                "/articles/search",
                "post",
                "/articles/search",
                {"json": {"search_for": "survey", "page_size": 100}},
            ),
            ("/account/articles", "get", "/account/articles?page_size=100", authorised),
            ("/account/institution/groups", "get", "/account/institution/groups", authorised),
            ("/categories", "get", "/categories", {}),
            ("/licenses", "get", "/licenses", {}),
            ("/account/licenses", "get", "/account/licenses", authorised),
            (
                "/account/articles/search",
                "post",
                "/account/articles/search",
                {"json": {"search_for": "survey", "page_size": 100}, **authorised},
            ),
            (
                "/account/institution/articles",
                "get",
                "/account/institution/articles?page_size=200",
                authorised,
            ),
            ("/collections/{collection_id}/articles", "get", "/collections/4000001/articles", {}),
            ("/projects/{project_id}/articles", "get", "/projects/113001/articles", {}),
        ]
        (many, *_) = sandbox.world.with_trait("three versions")
        versions = "/articles/{article_id}/versions"
        checks += [
            (versions, "get", f"/articles/{many}/versions", {}),
            (f"{versions}/{{version_id}}", "get", f"/articles/{many}/versions/2", {}),
            (f"{versions}/{{version_id}}/files", "get", f"/articles/{many}/versions/2/files", {}),
        ]
        for item_id in {sandbox.world.trait(each): each for each in sandbox.world.public_ids}.values():
            checks.append(("/articles/{article_id}", "get", f"/articles/{item_id}", {}))
            checks.append(("/articles/{article_id}/files", "get", f"/articles/{item_id}/files", {}))
        checks += [
            ("/account/articles/{article_id}", "get", f"/account/articles/{item_id}", authorised)
            for item_id in sandbox.world.account_ids
        ]
        checks += [
            ("/account/articles/{article_id}/files", "get", f"/account/articles/{item_id}/files", authorised)
            for item_id in sandbox.world.account_ids
        ]
        checkers = {(path, method): validator(path, method) for path, method, _, _ in checks}
        found, unexpected = set(), set()
        for path, method, address, more in checks:
            result = await reply(session, method.upper(), sandbox.api + address, **more)
            for message in disagreements(checkers[path, method], result):
                if message in AS_IN_THE_WILD:
                    found.add(message)
                else:
                    unexpected.add(f"{method} {path}: {message}")
        assert unexpected == set()
        assert found, "the sandbox is as odd as the wild is"


@needs_description
@pytest.mark.parametrize("name", ["article-10042703", "article-14763051"])
def test_the_oddities_are_those_of_real_records(name: str) -> None:
    contents = orjson.loads((SAMPLES / f"{name}.json").read_bytes())
    assert set(disagreements(validator("/articles/{article_id}"), contents)) & AS_IN_THE_WILD.keys()


@needs_description
async def test_a_made_up_record_has_the_keys_of_a_real_one() -> None:
    contents = orjson.loads((SAMPLES / "article-14763051.json").read_bytes())
    async with Sandbox(Settings(items=10)) as sandbox:
        made = sandbox.world.record(sandbox.world.public_ids[3])
        assert contents.keys() == made.keys()
        assert 2500 < len(orjson.dumps(made)) < 4500
        listed = orjson.loads((SAMPLES / "listing-by-doi-14763051.json").read_bytes())[0]
        assert listed.keys() == sandbox.world.entry(sandbox.world.public_ids[3]).keys()


def test_a_client_that_others_generated_reads_listings_and_files() -> None:
    """Records it reads no better than real ones: it refuses the nulls that both have."""
    from openapi_client.models.article import Article  # 3 s, in one worker
    from openapi_client.models.public_file import PublicFile

    world = World(Settings(items=60))
    for item_id in world.public_ids:
        assert Article.model_validate(world.entry(item_id)).id == item_id
        for file in world.files(item_id):
            assert PublicFile.model_validate(file).download_url == file["download_url"]


@needs_description
def test_the_generated_client_rejects_the_same_parts_of_real_records() -> None:
    from openapi_client.models.article_complete import ArticleComplete

    def refused(record: dict[str, Any]) -> set[str]:
        try:
            ArticleComplete.model_validate(record)
        except pydantic.ValidationError as error:
            return {str(fault["loc"][-1]) for fault in error.errors()}
        return set()

    real = [orjson.loads(path.read_bytes()) for path in SAMPLES.glob("article-*.json")]
    in_the_wild = set().union(*(refused(record) for record in real))
    world = World(Settings(items=60))
    plain = [item_id for item_id in world.public_ids if world.trait(item_id) not in {"nulls", "files null"}]
    ours = set().union(*(refused(world.record(item_id)) for item_id in plain))
    assert ours - in_the_wild == {"value"}  # of a custom field: it expects an object, figshare sends a text
