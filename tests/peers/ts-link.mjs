// Calls `delete` in a session with a client that declares `elicitation.url`: `ts-link.mjs 1|2 URL KEY`, by
// `@modelcontextprotocol/sdk` 1.x or `@modelcontextprotocol/client` 2.x with their own time limits. Prints each link its user is
// asked to follow, `completed` for each notice that this is done, and the answer with the seconds it took.
import { peer } from './peers.mjs';

const [generation, url, key] = process.argv.slice(2);
const info = { name: 'keepgate-ts-link', version: '1.0.0' };
const capabilities = { elicitation: { url: {} } };
const wire = { requestInit: { headers: { authorization: `Bearer ${key}` } } };
const completed = 'notifications/elicitation/complete';

function elicited({ params }) {
    console.log(`link ${params.url}`);
    return { action: 'accept' };
}

function made() {
    if (generation === '1') {
        const { Client } = peer('@modelcontextprotocol/sdk/client/index.js');
        const { StreamableHTTPClientTransport } = peer('@modelcontextprotocol/sdk/client/streamableHttp.js');
        const types = peer('@modelcontextprotocol/sdk/types.js');
        const client = new Client(info, { capabilities });
        client.setRequestHandler(types.ElicitRequestSchema, elicited);
        client.setNotificationHandler(types.ElicitationCompleteNotificationSchema, () => console.log('completed'));
        return { client, transport: new StreamableHTTPClientTransport(new URL(url), wire) };
    }
    const { Client, StreamableHTTPClientTransport } = peer('@modelcontextprotocol/client');
    const client = new Client(info, { capabilities, versionNegotiation: { mode: 'legacy' } });
    client.setRequestHandler('elicitation/create', elicited);
    client.setNotificationHandler(completed, () => console.log('completed'));
    return { client, transport: new StreamableHTTPClientTransport(new URL(url), wire) };
}

const { client, transport } = made();
await client.connect(transport);
const began = Date.now();
try {
    const answer = await client.callTool({ name: 'delete', arguments: { id: 1 } });
    console.log(`answer ${answer.content[0].text}`);
} catch (error) {
    console.log(`error ${error}`);
}
console.log(`${Math.round((Date.now() - began) / 1000)} s`);
await client.close();
