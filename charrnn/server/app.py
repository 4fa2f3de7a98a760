"""The application: which path does what, over ASGI. A request becomes an Answer, its texts a Job of the engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import traceback
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from charrnn.server.answers import Answer, Served
from charrnn.server.engine import Busy, Engine, Job
from charrnn.server.guard import check_source, cross_origin_headers
from charrnn.server.page import living_page, usage_page
from charrnn.server.protocol import DONE, Refused, event, read_request

BODY_S = 30  # how long the body of a request may take to come
STALLED_S = 30  # how long a client may take nothing of what is sent
RETRY_S = 1
CLOSED_BY_CLIENT = 499  # in the log only


class Outcome:
    """What the log says of a request: filled in as it is answered."""

    def __init__(self):
        self.status = 500
        self.note = ""


def make_app(served: Served, engine: Engine, host: str, origins: tuple[str, ...], log: Callable[[str], None]):
    """Return the ASGI application.

    host       to which it will be bound
    origins    of the web pages from elsewhere that may use it
    log        is given a line for each request
    """
    routes = [
        Route("/", _page, methods=["GET"]),
        Route("/api", _usage, methods=["GET"]),
        Route("/v1/models", _models, methods=["GET"]),
        Route("/v1/models/{name:path}", _model, methods=["GET"]),
        Route("/healthz", _health, methods=["GET"]),
        Route("/health", _health, methods=["GET"]),
        Route("/v1/completions", _Completions(served, engine), methods=["POST"]),
    ]
    handlers = {HTTPException: _not_found, Refused: _refused, Exception: _failed}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.served, app.state.engine, app.state.page = served, engine, None
    return _Guarded(app, host, origins, log)


class _Guarded:
    """What surrounds the application: who may ask, what a failure looks like, and a line of log for each request."""

    def __init__(self, app, host, origins, log):
        self._app, self._host, self._origins, self._log = app, host, origins, log

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, outcome = time.monotonic(), Outcome()
        scope["charrnn.outcome"] = outcome
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        more = cross_origin_headers(headers, self._origins)

        async def sending(message):
            if message["type"] == "http.response.start":
                outcome.status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            async with asyncio.timeout(STALLED_S):
                await send(message)

        try:
            check_source(headers, self._host, self._origins)
            if scope["method"] == "OPTIONS" and more:
                await Response(status_code=204)(scope, receive, sending)
            else:
                await self._app(scope, receive, sending)
        except Refused as refused:
            await _refusal(refused)(scope, receive, sending)
        except (TimeoutError, OSError):  # the client takes nothing, or has gone
            outcome.status = CLOSED_BY_CLIENT
        except Exception:  # a defect: answered by _failed
            self._log(f"a request failed:\n{traceback.format_exc()}")
        finally:
            self._log(self._line(scope, outcome, time.monotonic() - begun))

    @staticmethod
    def _line(scope, outcome, took_s):
        client, path = scope.get("client"), scope["path"][:200]
        # Printable, so that no request can act on the terminal.
        path = "".join(c if c.isprintable() else "?" for c in path)
        return (
            f"{client[0] if client else '-'} {scope['method']} {path} {outcome.status} {took_s:.3f} s"
            f"{f', {outcome.note}' if outcome.note else ''}"
        )


def _json(data, status=200, headers=None):
    return Response(json.dumps(data), status, headers, "application/json")


def _refusal(refused: Refused):
    return _json(refused.to_dict(), refused.status, {"retry-after": str(RETRY_S)} if refused.status == 503 else None)


async def _refused(_request, refused):
    return _refusal(refused)


async def _failed(_request, _error):
    return _refusal(Refused("the server failed; the reason is in its log", status=500))


async def _not_found(request: Request, error: HTTPException):
    """Answer what no route answers, as OpenAI's API would."""
    said = (
        f"unknown path {request.method} {request.url.path[:200]}: this server completes texts at POST /v1/completions"
    )
    return _json(Refused(said, status=error.status_code).to_dict(), error.status_code, error.headers)


async def _page(request: Request):
    served, state = request.app.state.served, request.app.state
    if state.page is None:  # megabytes, made when somebody wants them; made twice where two come at once
        state.page = await asyncio.to_thread(living_page, served.model, served.name, served.encoding)
    return HTMLResponse(state.page)


async def _usage(request: Request):
    served = request.app.state.served
    return HTMLResponse(usage_page(served.model, served.name, str(request.base_url).rstrip("/")))


async def _models(request: Request):
    return _json({"object": "list", "data": [request.app.state.served.about()]})


async def _model(request: Request):
    served, name = request.app.state.served, request.path_params["name"]
    if name != served.name:
        raise_for = f"unknown model {name[:200]!r}: this server has {served.name!r}"
        return _refusal(Refused(raise_for, "model", 404, "model_not_found"))
    return _json(served.about())


async def _health(request: Request):
    engine = request.app.state.engine
    return _json(
        {
            "status": "ok" if engine.is_alive else "failed",
            "model": request.app.state.served.name,
            "requests": engine.jobs,
        },
        200 if engine.is_alive else 503,
    )


class _Completions:
    """POST /v1/completions, as an ASGI application of its own: it watches for a client that goes away meanwhile."""

    def __init__(self, served, engine):
        self._served, self._engine = served, engine

    async def __call__(self, scope, receive, send):
        outcome = scope["charrnn.outcome"]
        asked = read_request(await self._body(scope, receive), self._served.name, self._served.limits)
        answer = Answer(self._served, asked)
        job = Job(answer.drawings)
        try:
            self._engine.submit(job)
        except Busy:
            raise Refused(
                f"the server already has {self._served.limits.requests:,} requests: try again in {RETRY_S} s",
                status=503,
            ) from None
        begun = time.monotonic()
        answering = asyncio.ensure_future(
            self._stream(answer, job, send) if asked.stream else self._whole(answer, job, send)
        )
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
            else:
                outcome.status = CLOSED_BY_CLIENT
        finally:
            self._engine.cancel(job)
            for task in (answering, gone):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.gather(answering, gone, return_exceptions=True)
            took_s = max(1e-9, time.monotonic() - begun)
            outcome.note = (
                f"{len(answer.texts)} x {asked.length:,} asked, {answer.drawn:,} characters, "
                f"{answer.drawn / took_s:,.0f} per second"
            )

    async def _body(self, scope, receive):
        """Return the body of a request. Raises Refused where it is too large, or does not come."""
        most, body = self._served.limits.body, bytearray()
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > most:
                raise _too_large(most)
        try:
            async with asyncio.timeout(BODY_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionResetError
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise _too_large(most)
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise Refused(f"the body of the request did not arrive within {BODY_S} s", status=408) from None

    async def _whole(self, answer, job, send):
        parts = []
        while not answer.is_finished:
            parts += await _taken(answer, await job.next())
            self._engine.consumed(job)
        whole = json.dumps(answer.whole(parts)).encode("ascii")
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(whole))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": whole, "more_body": False})

    async def _stream(self, answer, job, send):
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while not answer.is_finished:
            try:
                parts = await _taken(answer, await job.next())
            except Refused as refused:
                await send({"type": "http.response.body", "body": event(refused.to_dict()), "more_body": False})
                return
            for part in parts:
                await send({"type": "http.response.body", "body": event(answer.chunk([part])), "more_body": True})
            self._engine.consumed(job)
        last = DONE
        if answer.asked.with_usage:
            last = event({**answer.chunk([]), "usage": answer.usage()}) + DONE
        await send({"type": "http.response.body", "body": last, "more_body": False})


async def _taken(answer, drawn):
    """Return the parts that an Answer makes of what was drawn: an echoed prompt comes at once, and may take seconds."""
    return await asyncio.to_thread(answer.take, drawn) if answer.asked.echo else answer.take(drawn)


def _too_large(most):
    return Refused(f"the body of the request is larger than the allowed {most:,} bytes")


async def _until_gone(receive):
    while (await receive())["type"] != "http.disconnect":
        pass
