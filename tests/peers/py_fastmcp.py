"""Drives the `fastmcp` client against a server, in either era. See driver.py for the command line."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import mcp_types as types
from driver import Context, drive
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from mcp import MCPError
from mcp.client.subscriptions import listen

warnings.simplefilter("ignore")  # the SDK marks all that 2026-07-28 removed as deprecated
logging.disable(logging.CRITICAL)


class Adapter:
    """The calls the steps need. Where fastmcp has no call of its own, the SDK session under it is used."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.set_level = client.set_logging_level
        self.subscribe = client.session.subscribe_resource
        self.unsubscribe = client.session.unsubscribe_resource
        self.list_tools = client.list_tools
        self.list_resources = client.list_resources
        self.list_templates = client.list_resource_templates
        self.list_prompts = client.list_prompts
        self.read_resource = client.read_resource
        self.get_prompt = client.get_prompt

    def version(self) -> str | None:
        return self.client.protocol_version

    def server_name(self) -> str | None:
        return self.client.server_info.name if self.client.server_info else None

    def listen(self, **wanted: Any) -> Any:
        return listen(self.client.session, **wanted)

    async def call_tool(self, name: str, arguments: dict, on_progress: Any = None, meta: Any = None) -> types.CallToolResult:
        return await self.client.call_tool_mcp(name, arguments, progress_handler=on_progress, meta=meta)

    async def refusal(self, name: str, arguments: dict) -> tuple[int, Any]:
        try:
            result = await self.client.call_tool_mcp(name, arguments)
        except MCPError as error:
            return error.error.code, error.error.data
        raise AssertionError(f"answered {result}")

    async def complete(self, ref: Any, argument: dict[str, str]) -> list[str]:
        return (await self.client.complete(ref, argument)).values


def handlers(context: Context) -> dict[str, Any]:
    """What the client can do for the server; fastmcp declares a capability for each."""

    async def sample(messages: list[types.SamplingMessage], _params: Any, _context: Any) -> str:
        return context.answers.sampling(messages[0].content_as_list[0].text)

    async def elicit(_message: str, _kind: Any, params: types.ElicitRequestParams, _context: Any) -> types.ElicitResult:
        return context.answers.elicitation(params)

    async def roots(_context: Any) -> list[types.Root]:
        return context.answers.roots()

    async def message(received: Any) -> None:
        context.inbox.append(received)

    return {"sampling_handler": sample, "elicitation_handler": elicit, "roots": roots, "message_handler": message}


@contextlib.asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Adapter]:
    options = context.options

    def http_client(**settings: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(**settings, event_hooks=context.wire.hooks)

    if options.command:
        transport: Any = StdioTransport(options.command[0], options.command[1:], keep_alive=False)
    else:
        transport = StreamableHttpTransport(options.url, headers=options.headers, httpx_client_factory=http_client)
    # `auto` probes with server/discover, so the stateless era is found and not just assumed.
    async with Client(transport, mode="auto" if options.stateless else "legacy", **handlers(context)) as client:
        yield Adapter(client)


if __name__ == "__main__":
    drive(connect)
