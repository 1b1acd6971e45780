"""A server of the Python SDK or of FastMCP (`py_sse.py mcp|fastmcp`) over HTTP+SSE on a free port of 127.0.0.1: `echo` and
`count`, which reports progress."""

from __future__ import annotations

import os
import socket
import sys

import uvicorn

if sys.argv[1] == "fastmcp":
    from fastmcp import Context, FastMCP

    server = FastMCP("fastmcp-sse")
    app = lambda: server.http_app(path="/sse", transport="sse")
else:
    from mcp.server.mcpserver import Context, MCPServer

    server = MCPServer("py-sse")
    app = server.sse_app


@server.tool()
async def echo(message: str) -> str:
    """Says it again."""
    return message


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Counts, and reports each number."""
    for number in range(to):
        await ctx.report_progress(number, to)
    return f"counted to {to}"


listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))))
port = listener.getsockname()[1]
print(f"listening http://127.0.0.1:{port}/sse", flush=True)
uvicorn.Server(uvicorn.Config(app(), log_level="warning")).run(sockets=[listener])
sys.exit(0)
