"""Who sends a request, and whether their role is enough: what routes and forms declare.

What FastAPI calls is asynchronous although nothing waits: it sends anything else through a thread, for every request.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from service.http.security import Principal, unauthorized
from service.problems import Problem


def principal_of(request: Request) -> Principal:
    """Return who sends this request.

    Raises:
        Problem: `unauthorized`, on a public path without a key.
    """
    principal: Principal | None = request.state.principal
    if principal is None:
        raise unauthorized()
    return principal


async def get_principal(request: Request) -> Principal:
    """Do what `principal_of` does."""
    return principal_of(request)


PrincipalDep = Annotated[Principal, Depends(get_principal)]


@dataclass(frozen=True)
class RoleCheck:
    """A dependency that refuses keys below a role. `StrictRoute` does what it says, once, before it reads a body."""

    role: str
    everywhere: bool = False
    """Whether a key that is limited to some learners is refused too."""

    async def __call__(self, principal: PrincipalDep) -> None:
        """Do what `check` does."""
        self.check(principal)

    def check(self, principal: Principal) -> None:
        """Check the caller.

        Raises:
            Problem: `forbidden`.
        """
        if not principal.may(self.role):
            raise Problem("forbidden", f"This needs a key with the role {self.role} or higher.")
        if self.everywhere and not principal.sees_everything:
            raise Problem("forbidden", "This needs a key that is not limited to some learners.")


def requires(role: str, *, everywhere: bool = False) -> Any:
    """Return the dependency that lets only keys of at least this role pass; `everywhere`, only unlimited ones."""
    return Depends(RoleCheck(role, everywhere))
