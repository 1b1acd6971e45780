"""Calls `delete` in a session with a client that declares `elicitation.url`: `py_link.py URL KEY`.

Prints each link its user is asked to follow, `completed` for each notice that this is done, and the answer with the seconds it
took. The client is `mcp` 2.x with its own time limits.
"""

import sys
import time
from typing import Any

import anyio
import httpx2
import mcp
import mcp_types as types
from mcp.client.streamable_http import streamable_http_client


async def elicited(_: Any, params: Any) -> types.ElicitResult:
    print(f"link {params.url}", flush=True)
    return types.ElicitResult(action="accept")


async def heard(message: Any) -> None:
    if "elicitation/complete" in str(getattr(message, "method", getattr(getattr(message, "root", None), "method", ""))):
        print("completed", flush=True)


async def main() -> None:
    url, key = sys.argv[1:]
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=300)) as http:
        server = streamable_http_client(url, http_client=http)
        async with mcp.Client(server, mode="legacy", elicitation_callback=elicited, message_handler=heard) as client:
            began = time.monotonic()
            try:
                answer = await client.call_tool("delete", {"id": 1})
                print(f"answer {answer.content[0].text}")
            except mcp.MCPError as error:
                print(f"error {error.error.code} {error}")
            print(f"{round(time.monotonic() - began)} s")


anyio.run(main)
