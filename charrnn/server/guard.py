"""What is asked of every request before it is read: from which page it comes, and whom it is for.

A server on this machine's own address is meant for this machine's programs. A web page from elsewhere reaches it all
the same, through the browser: by sending requests, or by a name of its own that it lets point here (DNS rebinding). So
the Host header must be one of ours, and an Origin that of our own pages or one that was allowed.
"""

from __future__ import annotations

import ipaddress

from charrnn.server.protocol import Refused


def is_local(host: str) -> bool:
    """Say whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_source(headers, host: str, origins: tuple[str, ...]):
    """Raise Refused for a request that is meant for another host, or comes from a page that was not allowed.

    headers    {name in lower case: value}
    host       to which the server is bound
    origins    those that were allowed; "*" is any
    """
    named = headers.get("host", "")
    if is_local(host) and not is_local(_without_port(named)):
        raise Refused(
            f"the Host header must name this machine, such as localhost, got {named[:100]!r}: to serve others, start "
            "with --host 0.0.0.0",
            status=403,
        )
    origin = headers.get("origin")
    if origin is None or "*" in origins or origin in origins or origin.partition("://")[2] == named:
        return
    raise Refused(
        f"requests from the page {origin[:100]!r} are not allowed: start with --allow-origin {origin[:100]}", status=403
    )


def cross_origin_headers(headers, origins):
    """Return the headers that let a browser hand an answer to a page from elsewhere, where that page was allowed."""
    origin = headers.get("origin")
    if origin is None or not ("*" in origins or origin in origins):
        return []
    return [
        (b"access-control-allow-origin", b"*" if "*" in origins else origin.encode("latin-1", "replace")),
        (b"vary", b"Origin"),
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", b"*, Authorization, Content-Type"),
        (b"access-control-max-age", b"600"),
    ]


def _without_port(named):
    if named.startswith("["):
        return named.partition("]")[0] + "]"
    return named.partition(":")[0]
