"""A client that stays connected while the gateway is restarted: `py_restart.py URL FILE`.

Calls, prints `ready`, waits for FILE, and calls again. The client is `mcp` 2.x.
"""

import pathlib
import sys

import anyio
import mcp


async def text(client: mcp.Client) -> str:
    answer = await client.call_tool("account", {})
    return answer.content[0].text


async def main() -> None:
    async with mcp.Client(sys.argv[1], mode="legacy") as client:
        print(f"py before: {await text(client)}", flush=True)
        print("ready", flush=True)
        while not pathlib.Path(sys.argv[2]).exists():
            await anyio.sleep(0.05)
        try:
            print(f"py after: {await text(client)}", flush=True)
        except BaseException as error:
            print(f"py after: {error!r}", flush=True)


anyio.run(main)
