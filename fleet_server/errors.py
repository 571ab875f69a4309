"""The server's own errors, and what each error is over HTTP.

LoupeError
|-- NotFoundError      404  nothing is there under that name
|-- TooLargeError      413  a body or message above its limit
|-- StateError         409  the act is not allowed in this state
|   `-- LostLeaseError 409  the run belongs to another worker, or to nobody
|-- TrustError         403
|-- ResourceError      503
`-- every other        422
"""

from fleet_contract.errors import LoupeError, ResourceError, StateError, TrustError


class NotFoundError(LoupeError):
    """Nothing is there under that name."""


class TooLargeError(LoupeError):
    """A body or a message is above its limit."""


class LostLeaseError(StateError):
    """The run belongs to another worker, or to nobody."""


_STATUS: tuple[tuple[type[LoupeError], int], ...] = (
    (NotFoundError, 404),
    (TooLargeError, 413),
    (StateError, 409),
    (TrustError, 403),
    (ResourceError, 503),
)


def status_of(error: LoupeError) -> int:
    """The HTTP status that `error` becomes; 422 where nothing else is said."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
