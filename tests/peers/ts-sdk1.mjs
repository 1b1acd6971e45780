// Drives `@modelcontextprotocol/sdk` 1.x against a server; it speaks the stateful revisions only. See driver.mjs for the
// command line.
import { commandLine, drive, probeSession } from './driver.mjs';
import { peer } from './peers.mjs';

const { Client } = peer('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = peer('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { SSEClientTransport } = peer('@modelcontextprotocol/sdk/client/sse.js');
const { StdioClientTransport } = peer('@modelcontextprotocol/sdk/client/stdio.js');
const types = peer('@modelcontextprotocol/sdk/types.js');

const options = commandLine(['stateful']);
if (options.revision) {
    process.stderr.write('sdk 1.x offers its newest revision only: --revision is for ts-client2.mjs\n');
    process.exit(2);
}

function makeTransport(wire) {
    if (options.command) {
        const [command, ...args] = options.command;
        return new StdioClientTransport({ command, args, stderr: 'ignore' });
    }
    const Transport = options.sse ? SSEClientTransport : StreamableHTTPClientTransport;
    return new Transport(options.url, { requestInit: { headers: options.headers }, fetch: wire.fetch });
}

await drive(options, ({ answers, inbox, wire }) => {
    const client = new Client(
        { name: 'keepgate-ts-sdk1', version: '1.0.0' },
        { capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } } },
    );
    client.setRequestHandler(types.CreateMessageRequestSchema, async ({ params }) => answers.sampling(params));
    client.setRequestHandler(types.ElicitRequestSchema, async ({ params }) => answers.elicitation(params));
    client.setRequestHandler(types.ListRootsRequestSchema, async () => answers.roots());
    for (const schema of [
        types.LoggingMessageNotificationSchema, types.ToolListChangedNotificationSchema,
        types.ResourceUpdatedNotificationSchema,
    ]) {
        client.setNotificationHandler(schema, ({ method, params }) => inbox.add(method, params));
    }
    const transport = makeTransport(wire);
    let version;
    return {
        connect: async () => {
            // The SDK tells the negotiated revision to the transport alone.
            const told = transport.setProtocolVersion?.bind(transport);
            transport.setProtocolVersion = (negotiated) => {
                version = negotiated;
                told?.(negotiated);
            };
            await client.connect(transport);
        },
        close: () => client.close(),
        version: () => version,
        serverName: () => client.getServerVersion()?.name,
        listTools: () => client.listTools(),
        callTool: (name, args, { meta, ...rest } = {}) =>
            client.callTool({ name, arguments: args, ...(meta && { _meta: meta }) }, undefined, rest),
        listResources: () => client.listResources(),
        readResource: (uri) => client.readResource({ uri }),
        listTemplates: () => client.listResourceTemplates(),
        listPrompts: () => client.listPrompts(),
        getPrompt: (name, args) => client.getPrompt({ name, ...(args && { arguments: args }) }),
        complete: (params) => client.complete(params),
        setLevel: (level) => client.setLoggingLevel(level),
        subscribe: (uri) => client.subscribeResource({ uri }),
        unsubscribe: (uri) => client.unsubscribeResource({ uri }),
        terminate: async () => {
            const before = transport.sessionId;
            await transport.terminateSession();
            return { before, after: await probeSession(options, before, version) };
        },
    };
});
