// Speaks HTTP/2 to an MCP server in a stateful session: opens one connection, initializes, and makes its calls all at once.
//
//   http2.mjs <url> [--ca FILE] [--calls N] [--tool NAME]     http: prior knowledge; https: by ALPN, trusting FILE alone
//
// Prints {alpn, certificate, statuses, texts}: the protocol negotiated, the fingerprint of the certificate shown, and what
// came of each call. Each call's argument is `message: "call <n>"`.
import { readFileSync } from 'node:fs';
import { connect } from 'node:http2';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
        ca: { type: 'string' },
        calls: { type: 'string', default: '1' },
        tool: { type: 'string', default: 'echo' },
    },
});
const url = new URL(positionals[0]);
const session = connect(url.origin, values.ca ? { ca: readFileSync(values.ca) } : {});
const broken = new Promise((_, reject) => {
    session.on('error', reject);
    setTimeout(() => reject(new Error('the run took longer than 100 s')), 100_000).unref();
});

/** One request on a stream of its own, answered whole. */
function post(message, headers) {
    const stream = session.request({
        ':method': 'POST', ':path': url.pathname, 'content-type': 'application/json',
        accept: 'application/json, text/event-stream', ...headers,
    });
    stream.setEncoding('utf8');
    stream.end(JSON.stringify({ jsonrpc: '2.0', ...message }));
    return new Promise((resolve, reject) => {
        let head;
        let body = '';
        stream.on('response', (received) => (head = received));
        stream.on('data', (part) => (body += part));
        stream.on('error', reject);
        stream.on('end', () => resolve({ head, body }));
    });
}

/** The last message of a JSON body or an event stream. */
function answer({ head, body }) {
    if (!head['content-type']?.startsWith('text/event-stream')) return JSON.parse(body);
    const data = body.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trim());
    return JSON.parse(data.filter((line) => line !== '').at(-1));
}

async function run() {
    const protocolVersion = '2025-11-25';
    const clientInfo = { name: 'http2', version: '1' };
    const opened = await post({ id: 0, method: 'initialize', params: { protocolVersion, capabilities: {}, clientInfo } }, {});
    const headers = { 'mcp-session-id': opened.head['mcp-session-id'], 'mcp-protocol-version': protocolVersion };
    await post({ method: 'notifications/initialized' }, headers);
    const calls = Array.from({ length: Number(values.calls) }, (_, index) =>
        post({ id: index + 1, method: 'tools/call', params: { name: values.tool, arguments: { message: `call ${index}` } } }, headers));
    const ended = await Promise.all(calls);
    const certificate = url.protocol === 'https:' ? session.socket.getPeerCertificate().fingerprint256 : null;
    return {
        alpn: session.alpnProtocol,
        certificate,
        statuses: ended.map(({ head }) => head[':status']),
        texts: ended.map((each) => answer(each).result?.content?.[0]?.text ?? null),
    };
}

try {
    process.stdout.write(`${JSON.stringify(await Promise.race([run(), broken]))}\n`);
    session.close();
} catch (error) {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
}
