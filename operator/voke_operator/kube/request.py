"""What is asked of the API server, and what its refusals mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

import orjson

from voke_operator.kube import errors
from voke_operator.kube.resources import SECRETS, Resource

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete"]
WRITES: Final = frozenset[Verb]({"create", "update", "patch", "delete"})

_LONGEST_MESSAGE: Final = 1000
_HARMLESS: Final = re.compile(
    r"""User "[^"]*" cannot \w+ resource "[^"]*" in API group "[^"]*"( in the namespace "[^"]*")?"""
    r"""|exceeded quota: [\w.-]+|ValidatingAdmissionPolicy '[^']*' with binding '[^']*' denied request"""
)
"""Refusals of a Secret that say which rule refuses it, and nothing of what is in it."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, as an error names it."""

    verb: Verb
    resource: Resource
    namespace: str | None
    name: str | None = None
    subresource: str | None = None

    def __str__(self) -> str:
        """As ``patch plants.voke.lovinka.com/status roof in brno``."""
        what = self.resource.title + (f"/{self.subresource}" if self.subresource else "")
        named = f" {self.name}" if self.name else ""
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {what}{named}{where}"

    @property
    def path(self) -> str:
        """Where it is sent."""
        return self.resource.path(self.namespace, self.name, self.subresource)


def failure(request: Request, code: int, headers: Mapping[str, str], answer: bytes) -> errors.KubeError:
    """The error that an answer with the HTTP status ``code`` (400 and up) stands for."""
    status = _status(answer)
    details = status.get("details") or {}
    reason = status.get("reason") or _phrase(code)
    fields = tuple(cause["field"] for cause in details.get("causes") or () if cause.get("field"))
    said = _may_be_repeated(request, status.get("message") or "") or ", ".join(fields)
    text = f"{request}: {code} {reason}" + (f": {said}" if said else "")
    if code == HTTPStatus.CONFLICT and reason == "AlreadyExists":
        return errors.AlreadyExistsError(text, code=code)
    if code in _MEANING:
        return _MEANING[code](text, code=code)
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        return errors.ThrottledError(text, code=code, retry_after=_retry_after(headers, details))
    if code in _PASSING or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return errors.UnavailableError(text, code=code, retry_after=_retry_after(headers, details))
    return errors.InvalidError(text, code=code, fields=fields)


_MEANING: Final[Mapping[int, type[errors.KubeError]]] = {
    HTTPStatus.NOT_FOUND: errors.NotFoundError,
    HTTPStatus.CONFLICT: errors.ConflictError,
    HTTPStatus.GONE: errors.GoneError,
    HTTPStatus.FORBIDDEN: errors.ForbiddenError,
}
_PASSING: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT})
"""In place of a token that has just expired another is sent with the next request."""


def _status(answer: bytes) -> dict[str, Any]:
    try:
        status = orjson.loads(answer)
    except ValueError:
        status = None
    return status if isinstance(status, dict) else {}  # a proxy's page, or the plain text for an unknown path


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "refused"


def _may_be_repeated(request: Request, message: str) -> str:
    """The server's words, if they cannot hold what is secret: a refusal may quote what it refuses."""
    if request.resource.title == SECRETS.title and request.verb in WRITES:
        known = _HARMLESS.search(message)
        return known[0] if known else ""
    return message[:_LONGEST_MESSAGE]


def _retry_after(headers: Mapping[str, str], details: Mapping[str, Any]) -> float | None:
    try:
        return max(0.0, float(headers.get("Retry-After") or details["retryAfterSeconds"]))
    except (KeyError, TypeError, ValueError):
        return None  # a date is allowed, too, but the API server sends seconds
