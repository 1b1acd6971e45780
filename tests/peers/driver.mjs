// What the TypeScript client drivers share: the command line, the steps and the report. Each SDK brings an adapter with
// the few calls that differ.
//
// An adapter is {connect(), close(), version(), serverName(), listTools(), callTool(name, args, options), listResources(),
// readResource(uri, options), listTemplates(), listPrompts(), getPrompt(name, args), complete(params), setLevel(level),
// subscribe(uri), listen(filter), terminate(), sdk} where `listen` and `terminate` may be missing.
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { setTimeout as wait } from 'node:timers/promises';

const usage = `usage: <driver> <url> [--era stateful|stateless] [--revision 2025-06-18] [--header 'Name: value']... [--sse] [--only step]...
              [--skip 'step: reason']...
       <driver> <url> ... --list-and-call <tool> '<json>' [<tool> '<json>']...
       <driver> --stdio [--era ...] -- <command> [argument]...`;

/** Reads the command line; exits 2 on a mistake. */
export function commandLine(eras) {
    try {
        return readCommandLine(eras);
    } catch (error) {
        process.stderr.write(`${error.message}\n${usage}\n`);
        return process.exit(2);
    }
}

function readCommandLine(eras) {
    const { values, positionals } = parseArgs({
        allowPositionals: true,
        options: {
            era: { type: 'string', default: 'stateful' },
            revision: { type: 'string' },
            header: { type: 'string', multiple: true, default: [] },
            only: { type: 'string', multiple: true, default: [] },
            skip: { type: 'string', multiple: true, default: [] },
            sse: { type: 'boolean', default: false },
            stdio: { type: 'boolean', default: false },
            'list-and-call': { type: 'boolean', default: false },
        },
    });
    if (!eras.includes(values.era)) throw new Error(`this SDK speaks only: ${eras.join(', ')}`);
    const headers = Object.fromEntries(values.header.map((line) => pair(line, 'a header')));
    const skipped = Object.fromEntries(values.skip.map((line) => pair(line, 'a step with a reason')));
    const stranger = Object.keys(skipped).find((name) => !(name in steps));
    if (stranger !== undefined) throw new Error(`no such step: ${stranger}`);
    const [url, ...rest] = values.stdio ? [undefined, ...positionals] : positionals;
    if (!values.stdio && url === undefined) throw new Error('a URL is needed');
    const calls = [];
    const pairs = values['list-and-call'] ? rest : [];
    if (pairs.length % 2 !== 0) throw new Error('each tool needs its arguments as JSON');
    for (let index = 0; index < pairs.length; index += 2) {
        calls.push({ tool: pairs[index], arguments: JSON.parse(pairs[index + 1]) });
    }
    return {
        url: url === undefined ? undefined : new URL(url),
        command: values.stdio ? rest : undefined,
        era: values.era,
        stateless: values.era === 'stateless',
        revision: values.revision,
        headers,
        sse: values.sse,
        only: values.only,
        skipped,
        calls: values['list-and-call'] ? calls : undefined,
    };
}

/** `name: value`, taken apart. */
function pair(line, what) {
    const colon = line.indexOf(':');
    if (colon < 1) throw new Error(`not ${what}: ${line}`);
    return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
}

/** A `fetch` that keeps what was asked, so that a step can show what went over the wire. */
export function recordingFetch() {
    const requests = [];
    const recorded = async (input, init) => {
        const headers = new Headers(init?.headers);
        const entry = { method: init?.method ?? 'GET', lastEventId: headers.get('last-event-id'), status: undefined };
        requests.push(entry);
        const response = await fetch(input, init);
        entry.status = response.status;
        return response;
    };
    return { fetch: recorded, requests };
}

/** Thrown by a step that the SDK or the era cannot do. */
class Skip extends Error {}

/** Skips the step when the driver was told to speak a revision older than the feature. */
function needs(options, revision, feature) {
    if (options.revision && options.revision < revision) skip(`${feature} came with ${revision}`);
}

const skip = (reason) => {
    throw new Skip(reason);
};

function expect(condition, message) {
    if (!condition) throw new Error(message);
}

const firstText = (result) => result.content?.[0]?.text;

async function until(what, condition, milliseconds = 5000) {
    const end = Date.now() + milliseconds;
    while (!(await condition())) {
        if (Date.now() > end) throw new Error(`waited ${milliseconds} ms for ${what}`);
        await wait(20);
    }
}

/** What the client answers when the server asks. Shared by the adapters; each call is counted. */
export class Answers {
    counts = { sampling: 0, form: 0, url: 0, roots: 0 };

    sampling(params) {
        this.counts.sampling += 1;
        const asked = [params.messages[0].content].flat()[0].text;
        return { role: 'assistant', model: 'driver', content: { type: 'text', text: `model says: ${asked}` } };
    }

    elicitation(params) {
        if (params.mode === 'url') {
            this.counts.url += 1;
            return { action: 'accept' };
        }
        this.counts.form += 1;
        const known = {
            username: 'ada', email: 'ada@example.com', name: 'Ada', color: 'green', ok: true, context: 'driver',
        };
        const wanted = Object.keys(params.requestedSchema.properties).filter((key) => key in known);
        return { action: 'accept', content: Object.fromEntries(wanted.map((key) => [key, known[key]])) };
    }

    roots() {
        this.counts.roots += 1;
        return { roots: [{ uri: 'file:///driver/root', name: 'root' }] };
    }
}

/** Notifications the client received, by method. */
export class Inbox {
    #messages = [];

    add(method, params) {
        this.#messages.push({ method, params });
    }

    count(method, test = () => true) {
        return this.#messages.filter((message) => message.method === method && test(message.params)).length;
    }
}

const steps = {
    async connect({ adapter, options }) {
        await adapter.connect();
        const version = adapter.version();
        expect(options.stateless === (version === '2026-07-28'), `negotiated ${version} in the ${options.era} era`);
        return { revision: version, server: adapter.serverName() };
    },

    async tools_list({ adapter }) {
        const names = (await adapter.listTools()).tools.map((tool) => tool.name).sort();
        expect(names.includes('echo'), 'no tool `echo`');
        return names;
    },

    async tool_call({ adapter }) {
        // Line separators, an astral character, quotes, a NUL escape: what a relay that re-writes text gets wrong.
        const message = 'a "quoted" \\ line\r\n\u2028\u2029 \u0000 \u{1F511} é';
        const result = await adapter.callTool('echo', { message });
        expect(firstText(result) === message, `echoed ${JSON.stringify(firstText(result))}`);
        return 'echoed byte for byte';
    },

    async tool_error({ adapter }) {
        const result = await adapter.callTool('test_error_handling', {});
        expect(result.isError === true, 'isError is not set');
        return firstText(result);
    },

    async tool_structured({ adapter, options }) {
        needs(options, '2025-06-18', 'structured content');
        const result = await adapter.callTool('structured', { a: 2, b: 40 });
        expect(isDeepStrictEqual(result.structuredContent, { sum: 42 }), JSON.stringify(result));
        return result.structuredContent;
    },

    async tool_large({ adapter }) {
        const result = await adapter.callTool('sized', { bytes: 300_000 });
        expect(firstText(result).length === 300_000, `got ${firstText(result).length} bytes`);
        return '300000 bytes';
    },

    async tool_mirrored_header({ adapter, options }) {
        const result = await adapter.callTool('mirrored_header', { region: 'eu wést' });
        expect(firstText(result) === 'region eu wést', JSON.stringify(result));
        return options.stateless && options.url ? 'Mcp-Param-Region accepted' : 'called without the header';
    },

    async tool_parallel({ adapter }) {
        const messages = Array.from({ length: 20 }, (_, index) => `call ${index}`);
        const results = await Promise.all(messages.map((message) => adapter.callTool('echo', { message })));
        expect(isDeepStrictEqual(results.map(firstText), messages), 'answers went to the wrong calls');
        return '20 calls at once, each got its own answer';
    },

    async resources_list({ adapter }) {
        const uris = (await adapter.listResources()).resources.map((resource) => resource.uri).sort();
        expect(uris.includes('test://static-text'), 'no test://static-text');
        return uris;
    },

    async resources_read({ adapter }) {
        const plain = (await adapter.readResource('test://static-text')).contents[0];
        expect(plain.text === 'This is the content of the static text resource.', JSON.stringify(plain));
        const binary = (await adapter.readResource('test://static-binary')).contents[0];
        expect(Buffer.from(binary.blob, 'base64').subarray(1, 4).toString() === 'PNG', JSON.stringify(binary));
        const filled = (await adapter.readResource('test://template/123/data')).contents[0];
        expect(JSON.parse(filled.text).id === '123', JSON.stringify(filled));
        return 'text, blob and template';
    },

    async resource_templates({ adapter }) {
        const templates = (await adapter.listTemplates()).resourceTemplates.map((template) => template.uriTemplate);
        expect(templates.includes('test://template/{id}/data'), JSON.stringify(templates));
        return templates;
    },

    async prompts_list({ adapter }) {
        const names = (await adapter.listPrompts()).prompts.map((prompt) => prompt.name).sort();
        expect(names.includes('test_prompt_with_arguments'), JSON.stringify(names));
        return names;
    },

    async prompts_get({ adapter }) {
        const prompt = await adapter.getPrompt('test_prompt_with_arguments', { arg1: 'hello', arg2: 'world' });
        const line = prompt.messages[0].content.text;
        expect(line === "Prompt with arguments: arg1='hello', arg2='world'", line);
        return line;
    },

    async completion({ adapter }) {
        const complete = async (ref, name, value) =>
            (await adapter.complete({ ref, argument: { name, value } })).completion.values;
        const places = await complete({ type: 'ref/prompt', name: 'test_prompt_with_arguments' }, 'arg1', 'par');
        const ids = await complete({ type: 'ref/resource', uri: 'test://template/{id}/data' }, 'id', '12');
        expect(isDeepStrictEqual([places, ids], [['paris', 'park', 'party'], ['123', '124']]), JSON.stringify([places, ids]));
        return { places, ids };
    },

    async progress({ adapter }) {
        const seen = [];
        const onprogress = ({ progress }) => seen.push(progress);
        await adapter.callTool('test_tool_with_progress', {}, { onprogress });
        expect(isDeepStrictEqual(seen, [0, 50, 100]), JSON.stringify(seen));
        return { count: seen.length };
    },

    async progress_live({ adapter }) {
        let first;
        const onprogress = () => {
            first ??= Date.now();
        };
        const tag = `live-${process.pid}-${Date.now()}`;
        await adapter.callTool('slow', { tag, steps: 3, step_ms: 150 }, { onprogress });
        const ahead = Date.now() - first;
        expect(ahead >= 100, `the first progress notice came ${ahead} ms before the result, not about 300 ms: it was held back`);
        return 'came while the tool was running';
    },

    async logging({ adapter, inbox, options }) {
        const before = inbox.count('notifications/message');
        if (!options.stateless) await adapter.setLevel('info');
        const meta = options.stateless ? { 'io.modelcontextprotocol/logLevel': 'info' } : undefined;
        await adapter.callTool('test_tool_with_logging', {}, { meta });
        await until('three log lines', () => inbox.count('notifications/message') - before >= 3);
        return { count: inbox.count('notifications/message') - before };
    },

    async sampling({ adapter, answers }) {
        const result = await adapter.callTool('test_sampling', { prompt: 'two and two?' });
        expect(firstText(result) === 'LLM response: model says: two and two?', JSON.stringify(result));
        expect(answers.counts.sampling === 1, `asked ${answers.counts.sampling} times`);
        return firstText(result);
    },

    async elicitation_form({ adapter, answers, options }) {
        needs(options, '2025-06-18', 'elicitation');
        const result = await adapter.callTool('test_elicitation', { message: 'who are you?' });
        expect(firstText(result).includes('"username":"ada"'), JSON.stringify(result));
        expect(answers.counts.form === 1, `asked ${answers.counts.form} times`);
        return firstText(result);
    },

    async elicitation_url({ adapter, answers, options }) {
        needs(options, '2025-11-25', 'URL elicitation');
        const result = await adapter.callTool('elicit_url', {});
        expect(firstText(result) === 'Visit: action=accept', JSON.stringify(result));
        expect(answers.counts.url === 1, `asked ${answers.counts.url} times`);
        return firstText(result);
    },

    async url_required({ adapter, options }) {
        if (options.stateless) skip('-32042 must not be sent in 2026-07-28');
        needs(options, '2025-11-25', 'error -32042');
        const refusal = await adapter.callTool('url_required', {}).then(
            (result) => { throw new Error(`answered ${JSON.stringify(result)}`); },
            (error) => error,
        );
        expect(refusal.code === -32042, `refused with ${refusal.code}: ${refusal.message}`);
        expect(refusal.data?.elicitations?.[0]?.mode === 'url', JSON.stringify(refusal.data));
        return { code: refusal.code };
    },

    async roots({ adapter, answers }) {
        const result = await adapter.callTool('list_roots', {});
        expect(firstText(result) === 'file:///driver/root', JSON.stringify(result));
        expect(answers.counts.roots === 1, `asked ${answers.counts.roots} times`);
        return firstText(result);
    },

    async rounds({ adapter, options }) {
        needs(options, '2025-06-18', 'elicitation');
        const result = await adapter.callTool('test_input_required_result_multi_round', {});
        expect(firstText(result) === 'Ada likes green', JSON.stringify(result));
        const prompt = await adapter.getPrompt('test_input_required_result_prompt', undefined);
        expect(prompt.messages[0].content.text === 'Context: driver', JSON.stringify(prompt));
        return 'two rounds with sealed state, one on a prompt';
    },

    async cancel({ adapter }) {
        const tag = `cancel-${process.pid}-${Date.now()}`;
        const abort = new AbortController();
        const call = adapter.callTool('slow', { tag, steps: 400, step_ms: 25 }, {
            signal: abort.signal,
            onprogress: () => abort.abort(new Error('changed my mind')),
        });
        const ended = await call.then(() => 'finished', (error) => error);
        expect(ended instanceof Error, 'the call finished');
        const state = async () => firstText(await adapter.callTool('slow_state', { tag }));
        await until('the server to see the cancel', async () => (await state()) === 'cancelled');
        return 'the server stopped the run';
    },

    async list_changed({ adapter, inbox, options, wire }) {
        if (options.stateless && !adapter.listen) skip('the SDK has no subscriptions/listen');
        if (options.url && !options.stateless) {
            const standing = (request) => request.method === 'GET' && !request.lastEventId && request.status === 200;
            await until('the standing GET stream', () => wire.requests.some(standing));
        }
        const method = 'notifications/tools/list_changed';
        const before = inbox.count(method);
        const subscription = options.stateless ? await adapter.listen({ toolsListChanged: true }) : undefined;
        await adapter.callTool('test_trigger_tool_change', {});
        await until(method, () => inbox.count(method) > before);
        await subscription?.close();
        return options.stateless ? 'heard over subscriptions/listen' : 'heard over the standing stream';
    },

    async resource_updated({ adapter, inbox, options }) {
        if (options.stateless && !adapter.listen) skip('the SDK has no subscriptions/listen');
        const uri = 'test://watched-resource';
        const method = 'notifications/resources/updated';
        const before = inbox.count(method);
        const subscription = options.stateless
            ? await adapter.listen({ resourceSubscriptions: [uri] })
            : await adapter.subscribe(uri);
        await adapter.callTool('touch_resource', { uri });
        await until(method, () => inbox.count(method, (params) => params.uri === uri) > before);
        if (options.stateless) await subscription.close();
        else await adapter.unsubscribe(uri);
        return 'heard';
    },

    async resume({ adapter, options, wire }) {
        if (options.stateless) skip('2026-07-28 has no resumption');
        if (!options.url) skip('stdio has no streams to resume');
        needs(options, '2025-11-25', 'cutting a stream that is to be resumed');
        const onprogress = () => undefined;
        const result = await adapter.callTool('test_reconnection', {}, { timeout: 8000, onprogress });
        expect(firstText(result) === 'Answered after the stream was cut', JSON.stringify(result));
        const resumed = wire.requests.filter((request) => request.method === 'GET' && request.lastEventId);
        expect(resumed.length > 0, 'no GET with Last-Event-ID was sent: the stream was never cut');
        return { resumed: resumed.length };
    },

    async end_session({ adapter, options }) {
        if (options.stateless) skip('2026-07-28 has no sessions');
        if (!options.url) skip('a stdio session ends with its process');
        const { before, after } = await adapter.terminate();
        expect(before === undefined || before.length > 0, 'there was no session id');
        expect(after === 404, `a POST with the ended session's id got ${after}, not 404`);
        return 'ended, its id answers 404';
    },
};

/** After DELETE: what a POST with the old session id gets. Plain `fetch`, because the SDKs forget the id. */
export async function probeSession(options, id, version) {
    const response = await fetch(options.url, {
        method: 'POST',
        headers: {
            ...options.headers, 'content-type': 'application/json', accept: 'application/json, text/event-stream',
            'mcp-session-id': id, 'mcp-protocol-version': version,
        },
        body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
    });
    await response.body?.cancel();
    return response.status;
}

/** Runs what the command line asks for, prints one JSON object and sets the exit code. */
export async function drive(options, makeAdapter) {
    setTimeout(() => {
        process.stderr.write('the run took longer than 120 s\n');
        process.exit(4);
    }, 120_000).unref();
    const context = { options, answers: new Answers(), inbox: new Inbox(), wire: recordingFetch() };
    context.adapter = makeAdapter(context);
    const report = options.calls ? await listAndCall(context) : await runSteps(context);
    await Promise.race([context.adapter.close().catch(() => undefined), wait(5000, undefined, { ref: false })]);
    process.stdout.write(`${JSON.stringify(report, null, 1)}\n`);
    const failed = options.calls ? report.failed : Object.values(report).some((step) => step.ok === false);
    process.exit(failed ? 1 : 0);
}

function expiry(what) {
    return new Promise((_, reject) => {
        setTimeout(() => reject(new Error(`${what} took longer than 20 s`)), 20_000).unref();
    });
}

async function runSteps(context) {
    const report = {};
    for (const [name, step] of Object.entries(steps)) {
        if (name !== 'connect' && context.options.only.length > 0 && !context.options.only.includes(name)) continue;
        try {
            if (name in context.options.skipped) skip(context.options.skipped[name]);
            report[name] = { ok: true, detail: await Promise.race([step(context), expiry('the step')]) };
        } catch (error) {
            if (error instanceof Skip) report[name] = { ok: 'skipped', detail: error.message };
            else report[name] = { ok: false, detail: String(error.stack ?? error) };
            if (name === 'connect') break;
        }
    }
    return report;
}

/** Lists the tools and makes each call in order on one session; an answer of any kind is an outcome, not a failure. */
async function listAndCall({ adapter, options }) {
    const report = { failed: false, calls: [] };
    try {
        await Promise.race([adapter.connect(), expiry('connecting')]);
        report.revision = adapter.version();
        report.tools = (await adapter.listTools()).tools.map((tool) => tool.name).sort();
        for (const call of options.calls) {
            const outcome = await adapter.callTool(call.tool, call.arguments).then(
                (result) => ({ result }),
                (error) => ({ error: { kind: error.constructor.name, code: error.code, message: error.message, data: error.data } }),
            );
            report.calls.push({ ...call, ...outcome });
        }
        report.tools_after = (await adapter.listTools()).tools.map((tool) => tool.name).sort();
    } catch (error) {
        report.failed = true;
        report.reason = String(error.stack ?? error);
    }
    return report;
}
