"""Walks a list of servers with one Python client and prints `NAME<tab>OUTCOME` for each: for the matrix of sloppy servers.

    walk.py mcp|fastmcp LIST.json        [[name, url | [command, argument...]], ...]

The outcome is `works`, or the first step that failed with the reason: the gateway's code of a refusal, else the number of
the error.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import fastmcp
import mcp
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from mcp.client.streamable_http import streamable_http_client

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

AT_ONCE = 8
# What one step may take. Only a client that hangs takes that long.
PATIENCE = 40


class Failed(Exception):
    """A step that failed, and why."""


@contextlib.asynccontextmanager
async def open_mcp(target: Any) -> AsyncIterator[tuple[Any, Any]]:
    if isinstance(target, list):
        server: Any = mcp.StdioServerParameters(command=target[0], args=target[1:])
    else:
        server = streamable_http_client(target)
    async with mcp.Client(server, mode="legacy") as client:
        yield client, client.call_tool


@contextlib.asynccontextmanager
async def open_fastmcp(target: Any) -> AsyncIterator[tuple[Any, Any]]:
    if isinstance(target, list):
        transport: Any = StdioTransport(target[0], target[1:], keep_alive=False)
    else:
        transport = StreamableHttpTransport(target)
    async with fastmcp.Client(transport, mode="legacy") as client:
        yield client, client.call_tool_mcp


def reason(error: BaseException) -> str:
    """Why a step failed, as stable as the SDKs allow."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    inner = getattr(error, "error", None)
    data = getattr(inner, "data", None)
    if isinstance(data, dict) and isinstance(data.get("code"), str):
        return data["code"]
    if found := re.search(r'"code":\s*"([a-z_]+)"', str(error)):
        return found[1]
    if isinstance(error, TimeoutError):
        return "no answer"
    return str(getattr(inner, "code", type(error).__name__))


async def step(name: str, work: Callable[[], Awaitable[Any]]) -> Any:
    try:
        with anyio.fail_after(PATIENCE):
            return await work()
    except Exception as error:
        if os.environ.get("WALK_DEBUG"):
            traceback.print_exc()
        raise Failed(f"{name}: {reason(error)}") from error


def checked(result: Any) -> None:
    """Raises for an error of the tool or a refusal of the gateway."""
    if result.is_error:
        refusal = (result.meta or {}).get("dev.keepgate/refusal", {})
        raise Failed(f"call: {refusal.get('code', 'isError')}")


async def steps(client: Any, call: Any, passed: list[str]) -> None:
    passed.append("ping")
    with contextlib.suppress(Failed):  # a server need not know it
        await step("ping", client.send_ping if hasattr(client, "send_ping") else client.ping)
    passed.append("list")
    await step("list", client.list_tools)
    for name in ("call", "again"):
        passed.append(name)
        checked(await step(name, lambda: call("echo", {})))


async def walk(kind: str, target: Any) -> str:
    passed = ["connect"]
    failed: list[str] = []
    opened = open_mcp if kind == "mcp" else open_fastmcp

    async def whole() -> None:
        async with opened(target) as (client, call):
            try:
                await steps(client, call, passed)
            except Failed as error:
                failed.append(str(error))

    try:
        await step("connect", whole)
    except Failed as error:
        # What only fails when it is closed has worked.
        if not failed and passed[-1] != "again":
            failed.append(f"{passed[-1]}: {str(error).partition(': ')[2]}")
    return failed[0] if failed else "works"


async def main() -> None:
    kind, path = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        left = json.load(file)

    async def work() -> None:
        while left:
            name, target = left.pop(0)
            outcome = await walk(kind, target)
            print(f"{name}\t{outcome}", flush=True)

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(work)
    # A client that has not closed everything must not keep this from ending.
    os._exit(0)


if __name__ == "__main__":
    anyio.run(main)
