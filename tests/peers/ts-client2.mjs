// Drives `@modelcontextprotocol/client` 2.x against a server, in either era. See driver.mjs for the command line.
import { commandLine, drive, probeSession } from './driver.mjs';
import { peer } from './peers.mjs';

const { Client, StreamableHTTPClientTransport } = peer('@modelcontextprotocol/client');
const { StdioClientTransport } = peer('@modelcontextprotocol/client/stdio');

const options = commandLine(['stateful', 'stateless']);

function makeTransport(wire) {
    if (options.command) {
        const [command, ...args] = options.command;
        return new StdioClientTransport({ command, args, stderr: 'ignore' });
    }
    return new StreamableHTTPClientTransport(options.url, { requestInit: { headers: options.headers }, fetch: wire.fetch });
}

await drive(options, ({ answers, inbox, wire }) => {
    const client = new Client(
        { name: 'keepgate-ts-client2', version: '1.0.0' },
        {
            capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } },
            versionNegotiation: { mode: options.stateless ? { pin: options.revision ?? '2026-07-28' } : 'legacy' },
            ...(options.revision && !options.stateless ? { supportedProtocolVersions: [options.revision] } : {}),
        },
    );
    client.setRequestHandler('sampling/createMessage', async ({ params }) => answers.sampling(params));
    client.setRequestHandler('elicitation/create', async ({ params }) => answers.elicitation(params));
    client.setRequestHandler('roots/list', async () => answers.roots());
    for (const method of ['message', 'tools/list_changed', 'resources/updated'].map((name) => `notifications/${name}`)) {
        client.setNotificationHandler(method, ({ params }) => inbox.add(method, params));
    }
    const transport = makeTransport(wire);
    return {
        connect: () => client.connect(transport),
        close: () => client.close(),
        version: () => client.getNegotiatedProtocolVersion(),
        serverName: () => client.getServerVersion()?.name,
        listTools: () => client.listTools(undefined, { cacheMode: 'refresh' }),
        callTool: (name, args, { meta, ...rest } = {}) =>
            client.callTool({ name, arguments: args, ...(meta && { _meta: meta }) }, rest),
        listResources: () => client.listResources(),
        readResource: (uri) => client.readResource({ uri }),
        listTemplates: () => client.listResourceTemplates(),
        listPrompts: () => client.listPrompts(),
        getPrompt: (name, args) => client.getPrompt({ name, ...(args && { arguments: args }) }),
        complete: (params) => client.complete(params),
        setLevel: (level) => client.setLoggingLevel(level),
        subscribe: (uri) => client.subscribeResource({ uri }),
        unsubscribe: (uri) => client.unsubscribeResource({ uri }),
        listen: (filter) => client.listen(filter),
        terminate: async () => {
            const before = transport.sessionId;
            await transport.terminateSession();
            return { before, after: await probeSession(options, before, client.getNegotiatedProtocolVersion()) };
        },
    };
});
