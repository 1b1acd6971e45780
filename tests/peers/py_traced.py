"""A client of the Python SDK in a trace: `py_traced.py URL TOOL TEXT TRACE_ID SPAN_ID MODE` calls one tool.

The SDK itself puts the context into `params._meta`; this only says which one. MODE is `auto` or `legacy`.
"""

from __future__ import annotations

import asyncio
import sys

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from opentelemetry import trace


async def main() -> None:
    url, tool, text, trace_id, span_id, mode = sys.argv[1:]
    context = trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        async with Client(streamable_http_client(url), mode=mode) as client:
            result = await client.call_tool(tool, {"text": text})
    print(result.content[0].text)


if __name__ == "__main__":
    asyncio.run(main())
