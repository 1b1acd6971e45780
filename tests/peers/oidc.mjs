// An authorization server: `oidc-provider` with JWT access tokens for whatever resource is asked for, dynamic client
// registration, PKCE, and its own pages for signing in and consenting. Prints `listening URL`. PORT as for the servers.
// Registered beforehand: `app`, public, which may ask for any scope (a client that registers itself may later ask for no more
// than it did then), and `machine`, with the client credentials grant.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { peer } from './peers.mjs';

const { default: Provider } = peer('oidc-provider');

const server = createServer();
await new Promise((ready) => server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const key = (kid, type, options) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), kid, use: 'sig',
});
const provider = new Provider(issuer, {
    jwks: {
        keys: [
            { ...key('rsa', 'rsa', { modulusLength: 2048 }), alg: 'RS256' },
            { ...key('es', 'ec', { namedCurve: 'P-256' }), alg: 'ES256' },
        ],
    },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    scopes: ['openid', 'offline_access', 'tools:read', 'tools:write'],
    clients: [{
        client_id: 'app', redirect_uris: ['http://127.0.0.1:1/callback'], grant_types: ['authorization_code'],
        response_types: ['code'], token_endpoint_auth_method: 'none', application_type: 'native',
    }, {
        client_id: 'machine', client_secret: process.env.MACHINE_SECRET ?? 'machine-secret', redirect_uris: [],
        response_types: [], grant_types: ['client_credentials'], token_endpoint_auth_method: 'client_secret_post',
    }],
    findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    extraTokenClaims: (_context, token) => (token.accountId ? { roles: ['support'] } : undefined),
    features: {
        clientCredentials: { enabled: true },
        registration: { enabled: true },
        resourceIndicators: {
            enabled: true,
            useGrantedResource: () => true,
            getResourceServerInfo: (_context, resource) => ({
                scope: 'tools:read tools:write',
                audience: resource,
                accessTokenFormat: 'jwt',
                accessTokenTTL: 300,
                jwt: { sign: { alg: 'ES256' } },
            }),
        },
    },
});
server.on('request', provider.callback());
process.stdout.write(`listening ${issuer}\n`);
