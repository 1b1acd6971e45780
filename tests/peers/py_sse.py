"""A server of the Python SDK over HTTP+SSE on a free port of 127.0.0.1: `echo` and `count`, which reports progress."""

from __future__ import annotations

import os
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("py-sse")


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
uvicorn.Server(uvicorn.Config(server.sse_app(), log_level="warning")).run(sockets=[listener])
sys.exit(0)
