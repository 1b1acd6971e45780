"""Calls `wait` four times, each with a client of its own, over a connection that somebody cuts: `py_resume.py URL`.

Prints the number of answers. The client is `mcp` 2.x, which resumes by itself.
"""

import sys

import anyio
import mcp


async def main() -> None:
    answers = 0
    for round in range(4):
        try:
            with anyio.fail_after(10):
                async with mcp.Client(sys.argv[1], mode="legacy") as client:
                    answer = await client.call_tool("wait", {})
                    answers += answer.content[0].text == "waited"
        except BaseException as error:
            print(f"round {round}: {error!r}", file=sys.stderr)
    print(f"{answers} of 4")


anyio.run(main)
