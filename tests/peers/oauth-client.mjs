// An unmodified SDK client that knows nothing but the URL of an MCP server. It is refused, finds out who gives tokens,
// registers itself (`--client new`), sends its user (a small browser, here) to sign in and consent, calls a tool that this allows, is
// refused another for want of a scope, asks for more, and calls again. Prints what it met as JSON.
//
//     oauth-client.mjs URL --sdk 1|2 --client ID|new TOOL [TOOL...]
import { peer } from './peers.mjs';

const [url, , sdk, , known, ...tools] = process.argv.slice(2);
const from = (one, two) => (sdk === '1' ? peer(`@modelcontextprotocol/sdk/client/${one}.js`) : peer(two));
const { Client } = from('index', '@modelcontextprotocol/client');
const { StreamableHTTPClientTransport } = from('streamableHttp', '@modelcontextprotocol/client');
const { UnauthorizedError } = from('auth', '@modelcontextprotocol/client');

const met = { statuses: [], challenges: [], authorizations: [], results: {}, issuer: null };

/** The SDK's own fetch, overheard. */
async function overheard(input, init) {
    const response = await fetch(input, init);
    if (new URL(String(input)).pathname.endsWith('/mcp')) {
        met.statuses.push(response.status);
        const challenge = response.headers.get('www-authenticate');
        if (challenge) {
            met.challenges.push(challenge);
        }
    }
    return response;
}

/** What an application keeps for the SDK. */
class Keeper {
    get redirectUrl() { return 'http://127.0.0.1:1/callback'; }
    get clientMetadata() {
        return {
            client_name: 'keepgate-test', redirect_uris: [this.redirectUrl], grant_types: ['authorization_code'],
            response_types: ['code'], token_endpoint_auth_method: 'none', application_type: 'native',
        };
    }
    state() { return 'a-state'; }
    client = known === 'new' ? undefined : { client_id: known };
    clientInformation() { return this.client; }
    saveClientInformation(client) { this.client = client; }
    tokens() { return this.held; }
    saveTokens(tokens) { this.held = tokens; }
    codeVerifier() { return this.verifier; }
    saveCodeVerifier(verifier) { this.verifier = verifier; }
    redirectToAuthorization(location) { this.location = location; }
}

/** Follows a user through the pages of the authorization server, to the code they bring back. */
async function browse(location) {
    met.authorizations.push(Object.fromEntries(['scope', 'resource', 'code_challenge_method'].map(
        (name) => [name, location.searchParams.get(name)],
    )));
    const cookies = new Map();
    let next = location;
    let form;
    for (let step = 0; step < 20; step += 1) {
        if (next.origin === 'http://127.0.0.1:1') {
            return next.searchParams;
        }
        const response = await fetch(next, {
            method: form ? 'POST' : 'GET',
            body: form,
            redirect: 'manual',
            headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
        });
        for (const line of response.headers.getSetCookie()) {
            const [name, value] = line.split(';', 1)[0].split(/=(.*)/s);
            cookies.set(name, value);
        }
        form = undefined;
        const target = response.headers.get('location');
        if (target) {
            next = new URL(target, next);
            continue;
        }
        const page = await response.text();
        const prompt = /name="prompt" value="(login|consent)"/.exec(page)?.[1];
        if (!prompt) {
            throw new Error(`a page nobody expects (${response.status}): ${page.slice(0, 2000)}`);
        }
        next = new URL(/action="([^"]+)"/.exec(page)[1], next);
        form = new URLSearchParams(prompt === 'login' ? { prompt, login: 'ada', password: 'x' } : { prompt });
    }
    throw new Error('the pages have no end');
}

const keeper = new Keeper();
const connection = () => new StreamableHTTPClientTransport(new URL(url), { authProvider: keeper, fetch: overheard });
let transport = connection();

/** Does something; if that takes a token, or a better one, gets it and does `again`. */
async function authorized(act, again = act) {
    try {
        return await act();
    } catch (error) {
        if (!(error instanceof UnauthorizedError)) {
            throw error;
        }
        const back = await browse(keeper.location);
        met.issuer = back.get('iss');
        await transport.finishAuth(sdk === '1' ? back.get('code') : back);
        return again();
    }
}

const client = new Client({ name: 'keepgate-oauth', version: '1.0.0' });
await authorized(() => client.connect(transport), () => {
    transport = connection();
    return client.connect(transport);
});
for (const name of tools) {
    const result = await authorized(() => client.callTool({ name, arguments: {} }));
    met.results[name] = { error: result.isError ?? false, text: result.content[0]?.text };
}
met.listed = (await client.listTools()).tools.map((tool) => tool.name);
met.token = keeper.held.access_token;
await client.close();
process.stdout.write(`${JSON.stringify(met)}\n`);
