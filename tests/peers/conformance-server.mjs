// The fixture all peers run against: a real MCP server (official TypeScript SDK 2.x) that has every feature a client can
// use, in the stateful revisions and in 2026-07-28, on one endpoint.
//
//   conformance-server.mjs [--port N]   HTTP on 127.0.0.1 (or the environment's PORT, else a free port);
//                                       prints `listening http://127.0.0.1:N/mcp`; with TLS_CERTIFICATE and TLS_KEY
//                                       naming PEM files it speaks TLS and prints `listening https://localhost:N/mcp`
//   conformance-server.mjs --stdio      the same server on stdin and stdout
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { readFileSync } from 'node:fs';
import { randomBytes, randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { registerContentTools } from './fixture/content.mjs';
import { registerPrompts, registerResources } from './fixture/library.mjs';
import { registerQuestionTools } from './fixture/questions.mjs';
import { registerStreamTools } from './fixture/streams.mjs';
import { peer } from './peers.mjs';

const { McpServer, createMcpHandler, createRequestStateCodec, isLegacyRequest } = peer('@modelcontextprotocol/server');
const { serveStdio } = peer('@modelcontextprotocol/server/stdio');
const {
    NodeStreamableHTTPServerTransport, localhostHostValidation, localhostOriginValidation, toNodeHandler, toWebRequest,
} = peer('@modelcontextprotocol/node');

const log = (what) => process.stderr.write(`${what}\n`);
const states = createRequestStateCodec({ key: randomBytes(32), bind: (ctx) => ctx.mcpReq.method });

/** One server of its own per stateful session, stdio connection or stateless request. */
function buildServer(era, bus) {
    const server = new McpServer(
        { name: 'keepgate-conformance-fixture', version: '1.0.0' },
        {
            instructions: 'A fixture: every feature, no purpose.',
            capabilities: {
                tools: { listChanged: true },
                prompts: { listChanged: true },
                resources: { listChanged: true, subscribe: true },
                logging: {},
                completions: {},
            },
            requestState: { verify: states.verify },
        },
    );
    const subscribed = new Set();
    registerContentTools(server);
    registerStreamTools(server, changeNotifier(server, era, bus, subscribed));
    registerQuestionTools(server, states.mint);
    registerResources(server);
    registerPrompts(server);
    if (era === 'legacy') {
        server.server.setRequestHandler('resources/subscribe', async ({ params }) => {
            subscribed.add(params.uri);
            return {};
        });
        server.server.setRequestHandler('resources/unsubscribe', async ({ params }) => {
            subscribed.delete(params.uri);
            return {};
        });
    }
    return server;
}

/** Over HTTP a stateless server ends with its request, so listeners hear of changes from the bus all requests share. */
function changeNotifier(server, era, bus, subscribed) {
    return async (kind, uri) => {
        if (bus) {
            bus.publish(kind === 'resource' ? { kind: 'resource_updated', uri } : { kind: `${kind}_list_changed` });
        } else if (kind !== 'resource') {
            const name = { tools: 'Tool', prompts: 'Prompt', resources: 'Resource' }[kind];
            await server.server[`send${name}ListChanged`]();
        } else if (era === 'modern' || subscribed.has(uri)) {
            await server.server.sendResourceUpdated({ uri });
        }
    };
}

/** Keeps a session's events so that a cut stream can be resumed. Ids are `<stream>#<count>`, unique in the session. */
class SessionEvents {
    #events = [];

    async storeEvent(streamId, message) {
        const id = `${streamId}#${this.#events.length}`;
        this.#events.push({ id, streamId, message });
        return id;
    }

    async getStreamIdForEventId(eventId) {
        return this.#events.find((event) => event.id === eventId)?.streamId;
    }

    async replayEventsAfter(lastEventId, { send }) {
        const seen = this.#events.findIndex((event) => event.id === lastEventId);
        if (seen < 0) throw new Error('no such event');
        const { streamId } = this.#events[seen];
        for (const event of this.#events.slice(seen + 1)) {
            // A priming event is stored as an empty object: it marks a place and carries nothing.
            if (event.streamId === streamId && Object.keys(event.message).length > 0) await send(event.id, event.message);
        }
        return streamId;
    }
}

/** Serves the stateful revisions: one transport and one server per `Mcp-Session-Id`. */
class Sessions {
    #transports = new Map();

    async serve(request, response, body) {
        const id = request.headers['mcp-session-id'];
        const known = id === undefined ? undefined : this.#transports.get(id);
        if (known) return known.handleRequest(request, response, body);
        if (id !== undefined) return refuse(response, 404, -32001, 'Session not found', body);
        const messages = Array.isArray(body) ? body : [body];
        if (!messages.some((message) => message?.method === 'initialize')) {
            return refuse(response, 400, -32000, 'Bad Request: no session id', body);
        }
        return (await this.#open()).handleRequest(request, response, body);
    }

    async #open() {
        const transport = new NodeStreamableHTTPServerTransport({
            sessionIdGenerator: randomUUID,
            eventStore: new SessionEvents(),
            retryInterval: 200,
            onsessioninitialized: (id) => void this.#transports.set(id, transport),
            onsessionclosed: (id) => void this.#transports.delete(id),
        });
        await buildServer('legacy').connect(transport);
        return transport;
    }
}

function refuse(response, status, code, message, body) {
    const id = body?.id ?? null;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id, error: { code, message } }));
}

function serveHttp(port) {
    const hostIsLocal = localhostHostValidation();
    const originIsLocal = localhostOriginValidation();
    const sessions = new Sessions();
    const modern = createMcpHandler(() => buildServer('modern', modern.bus), {
        legacy: 'reject',
        onerror: (error) => log(`refused: ${error.message}`),
    });
    const serveModern = toNodeHandler(modern);

    const { TLS_CERTIFICATE: certificate, TLS_KEY: key } = process.env;
    const create = certificate
        ? (serve) => createTlsServer({ cert: readFileSync(certificate), key: readFileSync(key) }, serve)
        : createServer;
    const listener = create((request, response) => {
        if (!hostIsLocal(request, response) || !originIsLocal(request, response)) return;
        if (new URL(request.url, 'http://fixture').pathname !== '/mcp') {
            response.writeHead(404).end();
            return;
        }
        route(request, response).catch((error) => {
            log(`failed: ${error.stack}`);
            if (response.headersSent) response.destroy();
            else response.writeHead(500).end();
        });
    });

    async function route(request, response) {
        // Node's stream can be read once: the text is read here and handed on to whichever side serves it.
        const web = await toWebRequest(request);
        const body = request.method === 'POST' ? parse(await web.clone().text()) : undefined;
        if (request.method === 'POST' && body === undefined) return refuse(response, 400, -32700, 'Parse error');
        if (await isLegacyRequest(web)) return sessions.serve(request, response, body);
        return serveModern(request, response, body);
    }

    listener.listen(port, '127.0.0.1', () => {
        const origin = certificate ? 'https://localhost' : 'http://127.0.0.1';
        process.stdout.write(`listening ${origin}:${listener.address().port}/mcp\n`);
    });
}

function parse(raw) {
    try {
        return JSON.parse(raw);
    } catch {
        return undefined;
    }
}

const { values } = parseArgs({ options: { port: { type: 'string' }, stdio: { type: 'boolean' } } });
if (values.stdio) {
    serveStdio(({ era }) => buildServer(era), { onerror: (error) => log(error.message) });
} else {
    serveHttp(Number(values.port ?? process.env.PORT ?? 0));
}
