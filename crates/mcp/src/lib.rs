//! JSON-RPC and MCP messages, revisions and SSE framing; no IO, no clock.
