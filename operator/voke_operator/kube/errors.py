"""What can go wrong with a request to the API server, typed by what the caller should do about it.

::

    KubeError
    ├── NotFoundError         it is not there: create it, or be content that it is gone
    ├── AlreadyExistsError    somebody was first: read it, never overwrite it
    ├── ConflictError         it changed since it was read: read it again and decide anew
    ├── GoneError             the resourceVersion is too old: list again
    ├── RetryError            nothing wrong with the request: try the same again, later
    │   ├── ThrottledError    the server says when (429)
    │   └── UnavailableError  5xx, time-out, no connection; a write may or may not have been done
    ├── PermanentError        trying again is useless until a person acts
    │   ├── ForbiddenError    a rule is missing in RBAC, or an admission policy says no
    │   └── InvalidError      the object is refused
    └── FencedError           not sent, because somebody else may lead by now: end the process

No error holds an object or a part of one: of a Secret not even the server's own words are repeated, which may
quote what they refuse.
"""

from __future__ import annotations


class KubeError(Exception):
    """A request to the API server failed."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code
        """HTTP status; 0 if there was no answer."""


class NotFoundError(KubeError):
    """There is no such object, or no such kind (its CRD is missing)."""


class AlreadyExistsError(KubeError):
    """An object of that name exists."""


class ConflictError(KubeError):
    """The object changed since it was read, or another object has its name by now (uid)."""


class GoneError(KubeError):
    """The resourceVersion, or the rest of a list, is not kept any more."""


class RetryError(KubeError):
    """Nothing is wrong with the request itself."""

    def __init__(self, message: str, *, code: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after
        """Seconds that the server asks to wait; None if it does not say."""


class ThrottledError(RetryError):
    """The server has too much to do (429)."""


class UnavailableError(RetryError):
    """The server did not answer, or answered 5xx. A write may or may not have been done."""


class PermanentError(KubeError):
    """Trying again is useless until a person acts."""


class ForbiddenError(PermanentError):
    """Not allowed, by RBAC or by admission; the message names the rule."""


class InvalidError(PermanentError):
    """The server refuses the object; ``fields`` are the paths that it names."""

    def __init__(self, message: str, *, code: int = 0, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message, code=code)
        self.fields = fields


class FencedError(KubeError):
    """The write was not sent: this process is not, or may not be any more, the one that leads."""
