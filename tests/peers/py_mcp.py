"""Drives the Python SDK `mcp` 2.x against a server, in either era. See driver.py for the command line."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import mcp_types as types
from driver import Context, drive
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

warnings.simplefilter("ignore")  # the SDK marks all that 2026-07-28 removed as deprecated


class Adapter:
    """The calls the steps need, on the SDK's high-level client."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.listen = client.listen
        self.set_level = client.set_logging_level
        self.subscribe = client.subscribe_resource
        self.unsubscribe = client.unsubscribe_resource
        self.get_prompt = client.get_prompt

    def version(self) -> str:
        return self.client.protocol_version

    def server_name(self) -> str | None:
        return self.client.server_info.name if self.client.server_info else None

    async def call_tool(self, name: str, arguments: dict, on_progress: Any = None, meta: Any = None) -> types.CallToolResult:
        return await self.client.call_tool(name, arguments, progress_callback=on_progress, meta=meta)

    async def refusal(self, name: str, arguments: dict) -> tuple[int, Any]:
        try:
            result = await self.client.call_tool(name, arguments)
        except MCPError as error:
            return error.error.code, error.error.data
        raise AssertionError(f"answered {result}")

    async def list_tools(self) -> list[types.Tool]:
        return (await self.client.list_tools(cache_mode="refresh")).tools

    async def list_resources(self) -> list[types.Resource]:
        return (await self.client.list_resources()).resources

    async def list_templates(self) -> list[types.ResourceTemplate]:
        return (await self.client.list_resource_templates()).resource_templates

    async def list_prompts(self) -> list[types.Prompt]:
        return (await self.client.list_prompts()).prompts

    async def read_resource(self, uri: str) -> list[Any]:
        return (await self.client.read_resource(uri)).contents

    async def complete(self, ref: Any, argument: dict[str, str]) -> list[str]:
        return (await self.client.complete(ref, argument)).completion.values


def callbacks(context: Context) -> dict[str, Any]:
    """What the client can do for the server; the SDK declares a capability for each."""

    async def sample(_: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        answer = context.answers.sampling(params.messages[0].content_as_list[0].text)
        content = types.TextContent(type="text", text=answer)
        return types.CreateMessageResult(role="assistant", model="driver", content=content)

    async def elicit(_: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        return context.answers.elicitation(params)

    async def roots(_: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=context.answers.roots())

    async def message(received: Any) -> None:
        context.inbox.append(received)

    return {
        "sampling_callback": sample, "elicitation_callback": elicit, "list_roots_callback": roots,
        "message_handler": message,
    }


@contextlib.asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Adapter]:
    options = context.options
    # `auto` probes with server/discover, so the stateless era is found and not just assumed.
    mode = "auto" if options.stateless else "legacy"
    async with contextlib.AsyncExitStack() as stack:
        if options.command:
            server: Any = StdioServerParameters(command=options.command[0], args=options.command[1:])
        elif options.sse:
            def recorded(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx2.AsyncClient:
                return httpx2.AsyncClient(headers=headers, timeout=timeout, auth=auth, event_hooks=context.wire.hooks)

            server = sse_client(options.url, headers=options.headers, httpx_client_factory=recorded)
        else:
            timeout = httpx2.Timeout(30, read=300)
            http = httpx2.AsyncClient(headers=options.headers, timeout=timeout, event_hooks=context.wire.hooks)
            server = streamable_http_client(options.url, http_client=await stack.enter_async_context(http))
        client = await stack.enter_async_context(Client(server, mode=mode, **callbacks(context)))
        yield Adapter(client)


if __name__ == "__main__":
    drive(connect)
