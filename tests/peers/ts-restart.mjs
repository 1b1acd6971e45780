// Clients of both TypeScript SDKs that stay connected while the gateway is restarted: `ts-restart.mjs URL FILE`. Calls, prints
// `ready`, waits for FILE, and calls again; then waits for a notification on the standing stream. Prints a line for each client.
import { existsSync } from 'node:fs';
import { peer } from './peers.mjs';

const one = {
    name: '1.x',
    Client: peer('@modelcontextprotocol/sdk/client/index.js').Client,
    Transport: peer('@modelcontextprotocol/sdk/client/streamableHttp.js').StreamableHTTPClientTransport,
    options: {},
    listen: (client, done) => client.setNotificationHandler(peer('@modelcontextprotocol/sdk/types.js').ToolListChangedNotificationSchema, done),
};
const two = {
    name: '2.x',
    Client: peer('@modelcontextprotocol/client').Client,
    Transport: peer('@modelcontextprotocol/client').StreamableHTTPClientTransport,
    options: { versionNegotiation: { mode: 'legacy' } },
    listen: (client, done) => client.setNotificationHandler('notifications/tools/list_changed', done),
};

const [url, file] = process.argv.slice(2);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const text = async (client) => (await client.callTool({ name: 'account', arguments: {} })).content[0].text;

const connected = [];
for (const sdk of [one, two]) {
    const client = new sdk.Client({ name: `keepgate-ts-restart-${sdk.name}`, version: '1.0.0' }, sdk.options);
    const state = { sdk, client, heard: 0 };
    sdk.listen(client, () => (state.heard += 1));
    await client.connect(new sdk.Transport(new URL(url), {
        reconnectionOptions: { initialReconnectionDelay: 50, maxReconnectionDelay: 500, reconnectionDelayGrowFactor: 1.5, maxRetries: 200 },
    }));
    await client.listTools();
    console.log(`${sdk.name} before: ${await text(client)}`);
    connected.push(state);
}
console.log('ready');
while (!existsSync(file)) await pause(50);
for (const state of connected) {
    const { sdk, client } = state;
    try {
        console.log(`${sdk.name} after: ${await text(client)}`);
        const before = state.heard;
        for (let tries = 0; tries < 200 && state.heard === before; tries += 1) {
            await client.callTool({ name: 'announce', arguments: {} });
            await pause(50);
        }
        console.log(`${sdk.name} stream: ${state.heard > before ? 'heard' : 'silent'}`);
    } catch (error) {
        console.log(`${sdk.name} after: ${error}`);
    }
    await client.close();
}
process.exit(0);
