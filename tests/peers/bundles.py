"""Serves the files of FOLDER with Starlette's StaticFiles, which makes ETags and answers If-None-Match, under uvicorn.

Prints `listening URL`, then a line for each request: its path, its If-None-Match, its Authorization, and the status;
for a POST its path and its body.
With TOKEN set, requests need it as a bearer token.
"""

from __future__ import annotations

import asyncio
import os
import socket

import uvicorn
from starlette.staticfiles import StaticFiles


class Told:
    """Tells of every request and its answer, and looks at the token."""

    def __init__(self, app, token: str | None) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}

        async def telling(message) -> None:
            if message["type"] == "http.response.start":
                seen = [headers.get(name, "-") for name in ("if-none-match", "authorization", "prefer")]
                print("asked", scope["path"], *seen, message["status"], flush=True)
            await send(message)

        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            await telling({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        if scope["method"] == "POST":
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            print("posted", scope["path"], body.decode(), flush=True)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await self.app(scope, receive, telling)


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))))
    app = Told(StaticFiles(directory=os.environ["FOLDER"]), os.environ.get("TOKEN"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    print(f"listening http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await server.serve(sockets=[listener])


asyncio.run(main())
