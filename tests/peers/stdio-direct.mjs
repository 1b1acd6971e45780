// Starts a stdio server through the TypeScript SDK 1.x and prints its tool names, one a line; optionally calls one.
//
//   stdio-direct.mjs [--call <tool> --arguments '<json>'] -- <command> [argument]...
import { parseArgs } from 'node:util';
import { peer } from './peers.mjs';

const { Client } = peer('@modelcontextprotocol/sdk/client/index.js');
const { StdioClientTransport } = peer('@modelcontextprotocol/sdk/client/stdio.js');

const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { call: { type: 'string' }, arguments: { type: 'string', default: '{}' } },
});
const [command, ...args] = positionals;
if (command === undefined) {
    process.stderr.write("usage: stdio-direct.mjs [--call <tool> --arguments '<json>'] -- <command> [argument]...\n");
    process.exit(2);
}
const deadline = setTimeout(() => {
    process.stderr.write('no answer in 30 s\n');
    process.exit(1);
}, 30_000);

const client = new Client({ name: 'keepgate-stdio-direct', version: '1.0.0' });
await client.connect(new StdioClientTransport({ command, args, stderr: 'ignore' }));
const { tools } = await client.listTools();
process.stdout.write(`${tools.map((tool) => tool.name).sort().join('\n')}\n`);
if (values.call) {
    const result = await client.callTool({ name: values.call, arguments: JSON.parse(values.arguments) });
    process.stdout.write(`${JSON.stringify(result)}\n`);
    process.exitCode = result.isError ? 1 : 0;
}
clearTimeout(deadline);
await client.close();
