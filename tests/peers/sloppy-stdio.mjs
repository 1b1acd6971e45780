// A server on stdio that is sloppy in one way, for the matrix: sloppy-stdio.mjs BEHAVIOUR. It needs no package.
import { createInterface } from 'node:readline';

const behaviour = process.argv[2];
const HUGE = 'x'.repeat(7 * 1024 * 1024);

const end = behaviour === 'crlf' ? '\r\n' : '\n';
const write = (text) => process.stdout.write(text);
const send = (message) => write(`${JSON.stringify(message)}${end}`);

const results = {
    initialize: ({ protocolVersion }) => ({
        protocolVersion: behaviour === '2024-11-05' ? behaviour : protocolVersion,
        capabilities: { tools: {} },
        serverInfo: { name: 'sloppy', version: '1' },
    }),
    ping: () => ({}),
    'tools/list': () => ({ tools: [{ name: 'echo', inputSchema: { type: 'object' } }] }),
    'tools/call': () => ({ content: [{ type: 'text', text: behaviour === 'long-answer' ? HUGE : 'hello' }] }),
};

function answer({ id, method, params }) {
    if (id === undefined) return;
    if (!(method in results)) return send({ jsonrpc: '2.0', id, error: { code: -32601, message: 'no such method' } });
    const message = { jsonrpc: '2.0', id: behaviour === 'text-id' ? String(id) : id, result: results[method](params) };
    if (behaviour === 'nulls') Object.assign(message, { error: null, acme: 1, result: { ...message.result, _meta: null } });
    if (behaviour === 'banner') write(`[info] ${method}\n\n`);
    if (behaviour === 'long-notification' && method === 'tools/call') {
        send({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: HUGE } });
    }
    if (behaviour !== 'pieces') return send(message);
    const text = `${JSON.stringify(message)}\n`;
    write(text.slice(0, 9));
    return setTimeout(() => write(text.slice(9)), 5);
}

if (behaviour === 'banner') write('Sloppy server running on stdio\n\n');
createInterface({ input: process.stdin }).on('line', (line) => answer(JSON.parse(line)));
