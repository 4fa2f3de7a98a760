"""The server itself: its socket, uvicorn around the application, and how both end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from charrnn.errors import ConfigError
from charrnn.server.answers import Served
from charrnn.server.app import make_app
from charrnn.server.engine import Engine

GRACE_S = 10  # what requests at hand may still take when the server is to end
IDLE_S = 20  # how long a connection may bring no request, and one that was closed may keep what was sent


class Server:
    """A model behind a socket.

        server = Server(served, "127.0.0.1", 8000)
        print(server.url)
        server.run()        until `stop` is called

    Raises ConfigError where the address cannot be had.
    """

    def __init__(self, served: Served, host: str, port: int, origins: tuple[str, ...] = (), log: Callable = print):
        self._socket = _bind(host, port)
        self._engine = Engine(served.model, served.limits.requests, log)
        app = make_app(served, self._engine, host, origins, log)
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # the log is the application's
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
            )  # fmt: skip
        )
        port = self._socket.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self):
        """Answer requests until `stop` is called."""
        self._engine.start()
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self._engine.close()

    def stop(self):
        """Take no more requests, and end when those at hand are answered; may be called from anywhere."""
        self._uvicorn.should_exit = True


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the command."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


class _Protocol(H11Protocol):
    """Lets go of connections that bring no request, and of those whose client does not take what it was sent."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self._watched = None  # the request at the last look
        self._watch = asyncio.get_running_loop().call_later(IDLE_S, self._look)

    def connection_lost(self, exc):
        self._watch.cancel()
        super().connection_lost(exc)

    def _look(self):
        if self.transport.is_closing() or (
            self.cycle is self._watched and (self.cycle is None or self.cycle.response_complete)
        ):
            self.transport.abort()
            return
        self._watched = self.cycle
        self._watch = asyncio.get_running_loop().call_later(IDLE_S, self._look)


def _bind(host, port):
    """Return a listening socket. Raises ConfigError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"--host {host} is not an address of this machine: {getattr(error, 'strerror', None) or error}; leave it "
            "out "
            "for 127.0.0.1",
            ["host"],
        ) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(512)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise ConfigError(_why_not(error, host, port), ["port"]) from None
    return bound


def _why_not(error, host, port):
    import errno

    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: name another with --port {port + 1 if port < 65535 else 8000}"
    if error.errno == errno.EACCES:
        return f"you are not allowed to use port {port}: choose one above 1023, such as --port 8000"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is not an address of this machine: leave it out for 127.0.0.1"
    return f"cannot listen on {host} port {port}: {(error.strerror or str(error)).lower()}"
