"""Authentication: which items a token may see, and the account that it acts for."""

from __future__ import annotations

from dataclasses import dataclass

from harvester.sandbox.catalogue import COLLEAGUE_ACCOUNT, OWN_ACCOUNT
from harvester.sandbox.request import Refusal, Request
from harvester.sandbox.world import World


@dataclass(frozen=True)
class Caller:
    """
    A token's rights. ``account``: that it acts for; ``is_admin``: whether it is the institution's
    administrator's.
    """

    account: int
    is_admin: bool

    def sees(self, world: World, item_id: int) -> bool:
        """Return whether the account's endpoints show an item to it."""
        if self.is_admin and self.account == OWN_ACCOUNT:
            return world.exists(item_id)
        return item_id in world.account_items(account=self.account)

    def must_be_admin(self) -> None:
        if not self.is_admin:
            raise Refusal(403, "This needs the rights of an administrator")


def caller_of(request: Request, world: World) -> Caller | None:
    """
    Return the caller of a request, None without a token.

    Raises:
        Refusal: the token is unknown or has expired, may not act for that account, or there is none.
    """
    tokens = {f"token {world.settings.plain_token}": False, f"token {world.settings.token}": True}
    shown = request.headers.get("Authorization")
    if shown is None:
        return None
    if shown not in tokens or world.use(shown) > world.settings.token_lasts:
        raise Refusal(world.settings.bad_token_status, "Invalid or unknown authorization token")
    is_admin = tokens[shown]
    caller = Caller(OWN_ACCOUNT, is_admin)
    if "impersonate" not in request.fields:
        return caller
    caller.must_be_admin()
    account = int(request.fields["impersonate"])
    if account not in {OWN_ACCOUNT, COLLEAGUE_ACCOUNT}:
        raise Refusal(404, "Entity not found: account")
    return Caller(account, is_admin)
