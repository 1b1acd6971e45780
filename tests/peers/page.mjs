// A page in Chromium with the official TypeScript client, on an origin of its own: it calls the gateway as a browser lets it.
//
//   PORT=N page.mjs <chromium> <url of an endpoint> <era> [Header: value]...
//
// The page is at http://app.example:PORT (resolved to this machine). Prints {steps} with what the page could do, {requests}
// with what the browser sent and read, and {console} with its complaints, as JSON.
import { readFile, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { peer, peersFolder } from './peers.mjs';

const { chromium } = peer('playwright-core');

const [browser, endpoint, era, ...lines] = process.argv.slice(2);
const modules = pathToFileURL(`${peersFolder}node_modules/`);

// The browser's builds, by name; everything else is imported by its path.
const imports = {
    '@modelcontextprotocol/client': '/@modelcontextprotocol/client/dist/index.mjs',
    '@modelcontextprotocol/client/_shims': '/@modelcontextprotocol/client/dist/shimsBrowser.mjs',
    '@modelcontextprotocol/core/internal': '/@modelcontextprotocol/core/dist/internal.mjs',
    'zod/v4': '/zod/v4/index.js',
    'pkce-challenge': '/pkce-challenge/dist/index.browser.js',
    eventsource: '/eventsource/dist/index.js',
    'eventsource-parser': '/eventsource-parser/dist/index.js',
    'eventsource-parser/stream': '/eventsource-parser/dist/stream.js',
};
const page = `<!doctype html><title>app</title><script type="importmap">${JSON.stringify({ imports })}</script>
<script type="module">import * as sdk from '@modelcontextprotocol/client'; window.sdk = sdk;</script>`;

const server = createServer(async (request, response) => {
    const name = new URL(request.url, 'http://app.example').pathname;
    if (name === '/favicon.ico') return response.writeHead(204).end();
    if (name === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end(page);
    const file = new URL(`.${path.posix.normalize(name)}`, modules);
    const text = await readFile(file).catch(() => undefined);
    return text === undefined ? response.writeHead(404).end() : response.writeHead(200, { 'content-type': 'text/javascript' }).end(text);
});
const port = Number(process.env.PORT);
await new Promise((ready) => server.listen(port, '127.0.0.1', ready));
const origin = `http://app.example:${port}`;

const profile = await mkdtemp(path.join(tmpdir(), 'page-'));
const context = await chromium.launchPersistentContext(profile, {
    executablePath: browser,
    headless: true,
    args: [
        '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP app.example 127.0.0.1',
    ],
});
try {
    const tab = await context.newPage();
    const complaints = [];
    const requests = [];
    tab.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    tab.on('pageerror', (error) => complaints.push(String(error)));
    tab.on('response', (response) => {
        const request = response.request();
        if (request.url().startsWith(endpoint)) requests.push([request.method(), response.status()]);
    });
    await tab.goto(origin);
    await tab.waitForFunction(() => window.sdk !== undefined);
    const steps = await tab.evaluate(walk, { endpoint, era, lines });
    console.log(JSON.stringify({ steps, requests, console: complaints }));
} finally {
    await context.close();
    await rm(profile, { recursive: true, force: true });
    server.close();
}

/** Runs in the page. */
async function walk({ endpoint, era, lines }) {
    const { Client, StreamableHTTPClientTransport } = window.sdk;
    const headers = Object.fromEntries(lines.map((line) => line.split(': ')));
    const steps = {};
    const step = async (name, run) => {
        try {
            steps[name] = await run();
        } catch (error) {
            steps[name] = `failed: ${error.message}`;
        }
    };
    const versionNegotiation = { mode: era === 'stateless' ? { pin: '2026-07-28' } : 'legacy' };
    const client = new Client({ name: 'page', version: '1' }, { versionNegotiation });
    const transport = new StreamableHTTPClientTransport(new URL(endpoint), { requestInit: { headers } });
    let progress = 0;
    await step('connect', async () => {
        await client.connect(transport);
        return transport.sessionId === undefined ? 'without a session' : 'in a session';
    });
    if (steps.connect.startsWith('failed')) return steps;
    await step('tools', async () => (await client.listTools()).tools.length > 3);
    await step('text', async () => (await client.callTool({ name: 'test_simple_text', arguments: {} })).content[0].type);
    await step('progress', async () => {
        const options = { onprogress: () => (progress += 1) };
        await client.callTool({ name: 'test_tool_with_progress', arguments: {} }, options);
        return progress > 0;
    });
    await step('resources', async () => (await client.listResources()).resources.length > 0);
    await step('end', async () => {
        if (transport.sessionId !== undefined) await transport.terminateSession();
        await client.close();
        return true;
    });
    // A key of a stranger: the page may read why it is refused, and where to log in.
    const answer = await fetch(endpoint, { method: 'POST', headers: { authorization: 'Bearer none', 'content-type': 'application/json' }, body: '{}' });
    steps.stranger = [answer.status, answer.headers.get('www-authenticate') !== null];
    return steps;
}
