// Walks a list of servers with one TypeScript client and prints `NAME<tab>OUTCOME` for each: for the matrix of sloppy servers.
//
//   walk.mjs sdk1|sdk2|mcp-remote LIST.json        [[name, url | [command, argument...]], ...]
//
// The outcome is `works`, or the first step that failed with the reason: the gateway's code of a refusal, else the number of
// the error. With mcp-remote the client is the 1.x SDK on stdio, and the bridge is a process for each server.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { peer, peersFolder } from './peers.mjs';

/** Servers walked at once: a bridge is a process. */
const AT_ONCE = { sdk1: 8, sdk2: 8, 'mcp-remote': 4 };
/** What one step may take. Only a client that hangs takes that long. */
const PATIENCE = 40_000;

const [client, list] = process.argv.slice(2);
const scratch = mkdtempSync(join(tmpdir(), 'walk-'));

const sdk1 = () => ({
    Client: peer('@modelcontextprotocol/sdk/client/index.js').Client,
    Http: peer('@modelcontextprotocol/sdk/client/streamableHttp.js').StreamableHTTPClientTransport,
    Stdio: peer('@modelcontextprotocol/sdk/client/stdio.js').StdioClientTransport,
});
const sdk2 = () => ({
    Client: peer('@modelcontextprotocol/client').Client,
    Http: peer('@modelcontextprotocol/client').StreamableHTTPClientTransport,
    Stdio: peer('@modelcontextprotocol/client/stdio').StdioClientTransport,
});
const sdk = client === 'sdk2' ? sdk2() : sdk1();

function transport(target) {
    if (typeof target !== 'string') {
        const [command, ...args] = target;
        return new sdk.Stdio({ command, args, stderr: 'ignore' });
    }
    if (client !== 'mcp-remote') return new sdk.Http(new URL(target));
    return new sdk.Stdio({
        command: process.execPath,
        args: [`${peersFolder}node_modules/mcp-remote/dist/proxy.js`, target, '--allow-http'],
        env: { ...process.env, MCP_REMOTE_CONFIG_DIR: mkdtempSync(join(scratch, 'remote-')), NODE_COMPILE_CACHE: join(scratch, 'compiled') },
        stderr: 'ignore',
    });
}

/** Why a step failed, as stable as the SDKs allow. */
function reason(error) {
    const code = error?.data?.code ?? /\\?"code\\?":\s*\\?"([a-z_]+)\\?"/.exec(`${error?.message} ${error?.data?.text ?? ''}`)?.[1];
    if (typeof code === 'string') return code;
    return String(error?.code ?? error?.name ?? error);
}

/** A result that is an error of the tool or a refusal of the gateway. */
function checked(result) {
    if (!result.isError) return;
    throw Object.assign(new Error('refused'), { data: { code: result._meta?.['dev.keepgate/refusal']?.code ?? 'isError' } });
}

async function patiently(step, work) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(Object.assign(new Error('late'), { code: 'no answer' })), PATIENCE);
    });
    try {
        return await Promise.race([work(), late]);
    } catch (error) {
        if (process.env.WALK_DEBUG) process.stderr.write(`${step}: ${error?.stack}\n`);
        throw new Error(`${step}: ${reason(error)}`);
    } finally {
        clearTimeout(timer);
    }
}

async function walk(target) {
    const user = new sdk.Client({ name: 'walk', version: '1.0.0' }, { capabilities: {} });
    const way = transport(target);
    user.onerror = () => {};
    try {
        await patiently('connect', () => user.connect(way));
        // A server need not know it.
        await patiently('ping', () => user.ping().catch(() => {}));
        await patiently('list', () => user.listTools());
        await patiently('call', async () => checked(await user.callTool({ name: 'echo', arguments: {} })));
        await patiently('again', async () => checked(await user.callTool({ name: 'echo', arguments: {} })));
        return 'works';
    } catch (error) {
        return error.message;
    } finally {
        // The bridge does not end with its input, and the SDK would give it two seconds to.
        if (client === 'mcp-remote' && way.pid) process.kill(way.pid, 'SIGTERM');
        await user.close().catch(() => {});
    }
}

const left = JSON.parse(readFileSync(list, 'utf8'));
await Promise.all(
    Array.from({ length: AT_ONCE[client] }, async () => {
        for (let next = left.shift(); next; next = left.shift()) {
            process.stdout.write(`${next[0]}\t${await walk(next[1])}\n`);
        }
    }),
);
rmSync(scratch, { recursive: true, force: true });
process.exit(0);
