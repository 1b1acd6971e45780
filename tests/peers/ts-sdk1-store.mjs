// A server of `@modelcontextprotocol/sdk` 1.x as its README builds one, with the SDK's own event store, so that streams can be
// resumed. Tools: `account` (its answer holds a secret) and `slow` (answers after the text of `release` was posted to it by
// another call), `wait`, `announce` (says on the standing stream that its tools changed). Prints `listening URL`.
import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';
import { peer } from './peers.mjs';

const { McpServer } = peer('@modelcontextprotocol/sdk/server/mcp.js');
const { StreamableHTTPServerTransport } = peer('@modelcontextprotocol/sdk/server/streamableHttp.js');
const { InMemoryEventStore } = peer('@modelcontextprotocol/sdk/examples/shared/inMemoryEventStore.js');

const text = (text) => ({ content: [{ type: 'text', text }] });
const sessions = new Map();
const waiting = [];

function server() {
    const server = new McpServer({ name: 'store', version: '1.0.0' });
    server.registerTool('account', { description: 'Reads an account' }, () => text('SSN: 078-05-1120'));
    server.registerTool('slow', { description: 'Waits until it is released' }, () => new Promise((done) => waiting.push(() => done(text('slow')))));
    server.registerTool('wait', { description: 'Answers after a while' }, () => new Promise((done) => setTimeout(() => done(text('waited')), 700)));
    server.registerTool('release', { description: 'Lets the slow calls answer' }, () => {
        for (const done of waiting.splice(0)) done();
        return text('released');
    });
    server.registerTool('announce', { description: 'Announces new tools' }, () => {
        server.sendToolListChanged();
        return text('announced');
    });
    return server;
}

const http = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = chunks.length ? JSON.parse(Buffer.concat(chunks)) : undefined;
    let transport = sessions.get(request.headers['mcp-session-id']);
    if (!transport) {
        transport = new StreamableHTTPServerTransport({
            sessionIdGenerator: randomUUID,
            eventStore: new InMemoryEventStore(),
            onsessioninitialized: (id) => sessions.set(id, transport),
        });
        await server().connect(transport);
    }
    await transport.handleRequest(request, response, body);
});
http.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => console.log(`listening http://127.0.0.1:${http.address().port}/mcp`));
