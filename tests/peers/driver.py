"""What the Python client drivers share: the command line, the steps and the report. Each SDK brings an adapter.

    <driver> <url> [--era stateful|stateless] [--header 'Name: value']... [--sse] [--only step]... [--skip 'step: reason']...
    <driver> <url> ... --list-and-call <tool> '<json>' [<tool> '<json>']...
    <driver> --stdio [--era ...] -- <command> [argument]...
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import contextlib
import dataclasses
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpx2
import mcp_types as types

STATELESS = "2026-07-28"


@dataclasses.dataclass
class Options:
    """The command line, read."""

    url: str | None
    command: list[str] | None
    era: str
    headers: dict[str, str]
    sse: bool
    only: list[str]
    skipped: dict[str, str]
    calls: list[tuple[str, dict]] | None

    @property
    def stateless(self) -> bool:
        return self.era == "stateless"


def command_line() -> Options:
    """Reads the command line; exits 2 on a mistake."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--era", choices=["stateful", "stateless"], default="stateful")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--skip", action="append", default=[])
    parser.add_argument("--sse", action="store_true")
    parser.add_argument("--stdio", action="store_true")
    parser.add_argument("--list-and-call", action="store_true")
    own, command = sys.argv[1:], []
    if "--" in own:
        own, command = own[: own.index("--")], own[own.index("--") + 1 :]
    given = parser.parse_intermixed_args(own)

    def pairs(lines: list[str], what: str) -> dict[str, str]:
        taken = [line.partition(":") for line in lines]
        if any(not colon for _, colon, _ in taken):
            parser.error(f"not {what}: {lines}")
        return {name.strip(): value.strip() for name, _, value in taken}

    headers, skipped = pairs(given.header, "a header"), pairs(given.skip, "a step with a reason")
    if strangers := set(skipped) - {*STEPS, "end_session"}:
        parser.error(f"no such step: {strangers}")
    words = list(given.words)
    if given.stdio != bool(command):
        parser.error("--stdio goes with -- and a command")
    url = None if given.stdio else (words.pop(0) if words else parser.error("a URL is needed"))
    calls = None
    if given.list_and_call:
        if len(words) % 2:
            parser.error("each tool needs its arguments as JSON")
        calls = [(tool, json.loads(arguments)) for tool, arguments in zip(words[::2], words[1::2], strict=True)]
    return Options(url, command or None, given.era, headers, given.sse, given.only, skipped, calls)


class Wire:
    """What went over HTTP, so that a step can show it. `hooks` go into the client the SDK is given."""

    def __init__(self) -> None:
        self.requests: list[dict] = []
        self.session_id: str | None = None

    async def _on_response(self, response: httpx2.Response) -> None:
        headers = response.request.headers
        self.requests.append(
            {"method": response.request.method, "last": headers.get("last-event-id"), "status": response.status_code}
        )
        self.session_id = response.headers.get("mcp-session-id", self.session_id)

    @property
    def hooks(self) -> dict[str, list]:
        return {"response": [self._on_response]}


class Skip(Exception):
    """Raised by a step that the SDK or the era cannot do."""


def expect(condition: object, message: object) -> None:
    if not condition:
        raise AssertionError(str(message))


def first_text(result: Any) -> str:
    return result.content[0].text


async def until(what: str, condition: Callable[[], Any], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while True:
        met = condition()
        if isinstance(met, Awaitable):
            met = await met
        if met:
            return
        expect(time.monotonic() < end, f"waited {seconds} s for {what}")
        await asyncio.sleep(0.02)


class Answers:
    """What the client answers when the server asks; each call is counted."""

    KNOWN = {
        "username": "ada", "email": "ada@example.com", "name": "Ada", "color": "green", "ok": True, "context": "driver",
    }

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()

    def sampling(self, asked: str) -> str:
        self.counts["sampling"] += 1
        return f"model says: {asked}"

    def elicitation(self, params: types.ElicitRequestParams) -> types.ElicitResult:
        if isinstance(params, types.ElicitRequestURLParams):
            self.counts["url"] += 1
            return types.ElicitResult(action="accept")
        self.counts["form"] += 1
        wanted = params.requested_schema["properties"]
        return types.ElicitResult(action="accept", content={key: self.KNOWN[key] for key in wanted if key in self.KNOWN})

    def roots(self) -> list[types.Root]:
        self.counts["roots"] += 1
        return [types.Root(uri="file:///driver/root", name="root")]


@dataclasses.dataclass
class Context:
    """What a step works with."""

    options: Options
    wire: Wire = dataclasses.field(default_factory=Wire)
    answers: Answers = dataclasses.field(default_factory=Answers)
    inbox: list[Any] = dataclasses.field(default_factory=list)
    adapter: Any = None

    def heard(self, kind: type, **fields: object) -> int:
        """How many notifications of a type, with these fields in their params, have come in."""
        def fits(message: Any) -> bool:
            return isinstance(message, kind) and all(getattr(message.params, key) == fields[key] for key in fields)

        return sum(fits(message) for message in self.inbox)


# === the steps, in order ===


async def step_connect(c: Context) -> Any:
    version = c.adapter.version()
    expect(c.options.stateless == (version == STATELESS), f"negotiated {version} in the {c.options.era} era")
    return {"revision": version, "server": c.adapter.server_name()}


async def step_tools_list(c: Context) -> Any:
    names = sorted(tool.name for tool in await c.adapter.list_tools())
    expect("echo" in names, "no tool `echo`")
    return names


async def step_tool_call(c: Context) -> Any:
    # Line separators, an astral character, quotes, a NUL: what a relay that re-writes text gets wrong.
    message = 'a "quoted" \\ line\r\n\u2028\u2029 \u0000 \U0001f511 é'
    result = await c.adapter.call_tool("echo", {"message": message})
    expect(first_text(result) == message, f"echoed {first_text(result)!r}")
    return "echoed byte for byte"


async def step_tool_error(c: Context) -> Any:
    result = await c.adapter.call_tool("test_error_handling", {})
    expect(result.is_error is True, "isError is not set")
    return first_text(result)


async def step_tool_structured(c: Context) -> Any:
    result = await c.adapter.call_tool("structured", {"a": 2, "b": 40})
    expect(result.structured_content == {"sum": 42}, result)
    return result.structured_content


async def step_tool_large(c: Context) -> Any:
    result = await c.adapter.call_tool("sized", {"bytes": 300_000})
    expect(len(first_text(result)) == 300_000, f"got {len(first_text(result))} bytes")
    return "300000 bytes"


async def step_tool_mirrored_header(c: Context) -> Any:
    result = await c.adapter.call_tool("mirrored_header", {"region": "eu wést"})
    expect(first_text(result) == "region eu wést", result)
    return "Mcp-Param-Region accepted" if c.options.stateless and c.options.url else "called without the header"


async def step_tool_parallel(c: Context) -> Any:
    messages = [f"call {index}" for index in range(20)]
    results = await asyncio.gather(*(c.adapter.call_tool("echo", {"message": message}) for message in messages))
    expect([first_text(result) for result in results] == messages, "answers went to the wrong calls")
    return "20 calls at once, each got its own answer"


async def step_resources_list(c: Context) -> Any:
    uris = sorted(str(resource.uri) for resource in await c.adapter.list_resources())
    expect("test://static-text" in uris, uris)
    return uris


async def step_resources_read(c: Context) -> Any:
    plain = (await c.adapter.read_resource("test://static-text"))[0]
    expect(plain.text == "This is the content of the static text resource.", plain)
    binary = (await c.adapter.read_resource("test://static-binary"))[0]
    expect(base64.b64decode(binary.blob)[1:4] == b"PNG", binary)
    filled = (await c.adapter.read_resource("test://template/123/data"))[0]
    expect(json.loads(filled.text)["id"] == "123", filled)
    return "text, blob and template"


async def step_resource_templates(c: Context) -> Any:
    templates = [template.uri_template for template in await c.adapter.list_templates()]
    expect("test://template/{id}/data" in templates, templates)
    return templates


async def step_prompts_list(c: Context) -> Any:
    names = sorted(prompt.name for prompt in await c.adapter.list_prompts())
    expect("test_prompt_with_arguments" in names, names)
    return names


async def step_prompts_get(c: Context) -> Any:
    prompt = await c.adapter.get_prompt("test_prompt_with_arguments", {"arg1": "hello", "arg2": "world"})
    line = prompt.messages[0].content.text
    expect(line == "Prompt with arguments: arg1='hello', arg2='world'", line)
    return line


async def step_completion(c: Context) -> Any:
    prompt = types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
    template = types.ResourceTemplateReference(type="ref/resource", uri="test://template/{id}/data")
    places = await c.adapter.complete(prompt, {"name": "arg1", "value": "par"})
    ids = await c.adapter.complete(template, {"name": "id", "value": "12"})
    expect((places, ids) == (["paris", "park", "party"], ["123", "124"]), (places, ids))
    return {"places": places, "ids": ids}


async def step_progress(c: Context) -> Any:
    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    await c.adapter.call_tool("test_tool_with_progress", {}, on_progress=on_progress)
    await until("three progress notices", lambda: len(seen) == 3)
    expect(seen == [0, 50, 100], seen)
    return {"count": len(seen)}


async def step_progress_live(c: Context) -> Any:
    first: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        first.append(time.monotonic())

    tag = f"live-{os.getpid()}-{time.monotonic_ns()}"
    await c.adapter.call_tool("slow", {"tag": tag, "steps": 3, "step_ms": 150}, on_progress=on_progress)
    expect(first, "no progress notice")
    ahead = time.monotonic() - first[0]
    expect(ahead >= 0.1, f"the first progress notice came {ahead:.3f} s before the result, not about 0.3 s: it was held back")
    return "came while the tool was running"


async def step_logging(c: Context) -> Any:
    before = c.heard(types.LoggingMessageNotification)
    if not c.options.stateless:
        await c.adapter.set_level("info")
    meta = {"io.modelcontextprotocol/logLevel": "info"} if c.options.stateless else None
    await c.adapter.call_tool("test_tool_with_logging", {}, meta=meta)
    await until("three log lines", lambda: c.heard(types.LoggingMessageNotification) - before >= 3)
    return {"count": c.heard(types.LoggingMessageNotification) - before}


async def step_sampling(c: Context) -> Any:
    result = await c.adapter.call_tool("test_sampling", {"prompt": "two and two?"})
    expect(first_text(result) == "LLM response: model says: two and two?", result)
    expect(c.answers.counts["sampling"] == 1, c.answers.counts)
    return first_text(result)


async def step_elicitation_form(c: Context) -> Any:
    result = await c.adapter.call_tool("test_elicitation", {"message": "who are you?"})
    expect('"username":"ada"' in first_text(result), result)
    expect(c.answers.counts["form"] == 1, c.answers.counts)
    return first_text(result)


async def step_elicitation_url(c: Context) -> Any:
    result = await c.adapter.call_tool("elicit_url", {})
    expect(first_text(result) == "Visit: action=accept", result)
    expect(c.answers.counts["url"] == 1, c.answers.counts)
    return first_text(result)


async def step_url_required(c: Context) -> Any:
    if c.options.stateless:
        raise Skip("-32042 must not be sent in 2026-07-28")
    code, data = await c.adapter.refusal("url_required", {})
    expect(code == -32042, f"refused with {code}")
    expect(data["elicitations"][0]["mode"] == "url", data)
    return {"code": code}


async def step_roots(c: Context) -> Any:
    result = await c.adapter.call_tool("list_roots", {})
    expect(first_text(result) == "file:///driver/root", result)
    expect(c.answers.counts["roots"] == 1, c.answers.counts)
    return first_text(result)


async def step_rounds(c: Context) -> Any:
    result = await c.adapter.call_tool("test_input_required_result_multi_round", {})
    expect(first_text(result) == "Ada likes green", result)
    prompt = await c.adapter.get_prompt("test_input_required_result_prompt", None)
    expect(prompt.messages[0].content.text == "Context: driver", prompt)
    return "two rounds with sealed state, one on a prompt"


async def step_cancel(c: Context) -> Any:
    tag = f"cancel-{os.getpid()}-{time.monotonic_ns()}"
    started = asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        started.set()

    call = asyncio.create_task(
        c.adapter.call_tool("slow", {"tag": tag, "steps": 400, "step_ms": 25}, on_progress=on_progress)
    )
    await asyncio.wait_for(started.wait(), 5)
    call.cancel()
    outcome = (await asyncio.gather(call, return_exceptions=True))[0]
    expect(isinstance(outcome, BaseException), "the call finished")

    async def stopped() -> bool:
        return first_text(await c.adapter.call_tool("slow_state", {"tag": tag})) == "cancelled"

    await until("the server to see the cancel", stopped)
    return "the server stopped the run"


async def step_list_changed(c: Context) -> Any:
    if c.options.stateless:
        async with c.adapter.listen(tools_list_changed=True) as subscription:
            await c.adapter.call_tool("test_trigger_tool_change", {})
            event = await asyncio.wait_for(anext(aiter(subscription)), 5)
        return f"heard over subscriptions/listen: {type(event).__name__}"
    if c.options.url:
        await until("the standing GET stream", lambda: any(
            request["method"] == "GET" and not request["last"] and request["status"] == 200 for request in c.wire.requests
        ))
    before = c.heard(types.ToolListChangedNotification)
    await c.adapter.call_tool("test_trigger_tool_change", {})
    await until("tools/list_changed", lambda: c.heard(types.ToolListChangedNotification) > before)
    return "heard over the standing stream"


async def step_resource_updated(c: Context) -> Any:
    uri = "test://watched-resource"
    if c.options.stateless:
        async with c.adapter.listen(resource_subscriptions=[uri]) as subscription:
            await c.adapter.call_tool("touch_resource", {"uri": uri})
            event = await asyncio.wait_for(anext(aiter(subscription)), 5)
        expect(str(event.uri) == uri, event)
        return "heard"
    await c.adapter.subscribe(uri)
    before = c.heard(types.ResourceUpdatedNotification, uri=uri)
    await c.adapter.call_tool("touch_resource", {"uri": uri})
    await until("resources/updated", lambda: c.heard(types.ResourceUpdatedNotification, uri=uri) > before)
    await c.adapter.unsubscribe(uri)
    return "heard"


async def step_resume(c: Context) -> Any:
    if c.options.stateless:
        raise Skip("2026-07-28 has no resumption")
    if not c.options.url:
        raise Skip("stdio has no streams to resume")
    result = await asyncio.wait_for(c.adapter.call_tool("test_reconnection", {}), 8)
    expect(first_text(result) == "Answered after the stream was cut", result)
    resumed = sum(request["method"] == "GET" and bool(request["last"]) for request in c.wire.requests)
    expect(resumed, "no GET with Last-Event-ID was sent: the stream was never cut")
    return {"resumed": resumed}


async def after_end_session(c: Context) -> Any:
    """Runs when the client has left: its session must be gone."""
    if c.options.stateless:
        raise Skip("2026-07-28 has no sessions")
    if not c.options.url:
        raise Skip("a stdio session ends with its process")
    expect(any(request["method"] == "DELETE" for request in c.wire.requests), "no DELETE was sent")
    expect(c.wire.session_id, "there was no session id")
    headers = {
        **c.options.headers, "accept": "application/json, text/event-stream", "mcp-session-id": c.wire.session_id or "",
        "mcp-protocol-version": "2025-11-25",
    }
    async with httpx2.AsyncClient() as client:
        answer = await client.post(c.options.url, headers=headers, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    expect(answer.status_code == 404, f"a POST with the ended session's id got {answer.status_code}, not 404")
    return "ended, its id answers 404"


STEPS = {name.removeprefix("step_"): step for name, step in list(globals().items()) if name.startswith("step_")}


async def attempt(report: dict, name: str, step: Callable[[Context], Awaitable[Any]], context: Context) -> None:
    """Runs one step and notes what came of it."""
    try:
        if name in context.options.skipped:
            raise Skip(context.options.skipped[name])
        async with asyncio.timeout(20):
            report[name] = {"ok": True, "detail": await step(context)}
    except Skip as reason:
        report[name] = {"ok": "skipped", "detail": str(reason)}
    except Exception:
        report[name] = {"ok": False, "detail": traceback.format_exc()}


@contextlib.asynccontextmanager
async def connected(context: Context, connect: Callable[[Context], Any]) -> AsyncIterator[Any]:
    """Connects within 20 s: a server that never answers must end the run."""
    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.timeout(20):
            adapter = await stack.enter_async_context(connect(context))
        yield adapter


async def run_steps(context: Context, connect: Callable[[Context], Any]) -> dict:
    report: dict[str, dict] = {}
    wanted = {name: step for name, step in STEPS.items() if name == "connect" or name in (context.options.only or STEPS)}
    try:
        async with connected(context, connect) as context.adapter:
            for name, step in wanted.items():
                await attempt(report, name, step, context)
    except Exception:
        report["connect"] = {"ok": False, "detail": traceback.format_exc()}
        return report
    if not context.options.only or "end_session" in context.options.only:
        await attempt(report, "end_session", after_end_session, context)
    return report


async def list_and_call(context: Context, connect: Callable[[Context], Any]) -> dict:
    """Lists the tools and makes each call in order on one session; an answer of any kind is an outcome."""
    report: dict[str, Any] = {"failed": False, "calls": []}
    try:
        async with connected(context, connect) as adapter:
            report["revision"] = adapter.version()
            report["tools"] = sorted(tool.name for tool in await adapter.list_tools())
            for tool, arguments in context.options.calls or []:
                outcome = await call_outcome(adapter, tool, arguments)
                report["calls"].append({"tool": tool, "arguments": arguments, **outcome})
            report["tools_after"] = sorted(tool.name for tool in await adapter.list_tools())
    except Exception:
        report |= {"failed": True, "reason": traceback.format_exc()}
    return report


async def call_outcome(adapter: Any, tool: str, arguments: dict) -> dict:
    try:
        result = await adapter.call_tool(tool, arguments)
    except Exception as error:
        details = getattr(error, "error", None)
        return {
            "error": {
                "kind": type(error).__name__, "code": getattr(details, "code", None), "message": str(error),
                "data": getattr(details, "data", None),
            }
        }
    return {"result": result.model_dump(mode="json", by_alias=True, exclude_none=True)}


def give_up() -> None:
    print("the run took longer than 120 s", file=sys.stderr)
    os._exit(4)


def drive(connect: Callable[[Context], Any]) -> None:
    """Runs what the command line asks for, prints one JSON object and sets the exit code."""
    context = Context(command_line())
    watchdog = threading.Timer(120, give_up)
    watchdog.daemon = True
    watchdog.start()
    if context.options.calls is None:
        report = anyio.run(run_steps, context, connect)
        failed = any(step["ok"] is False for step in report.values())
    else:
        report = anyio.run(list_and_call, context, connect)
        failed = report["failed"]
    json.dump(report, sys.stdout, indent=1, ensure_ascii=False, default=str)
    print()
    sys.exit(1 if failed else 0)
