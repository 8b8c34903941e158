// A real OpenID provider for tests: npm's oidc-provider, over HTTPS on a free port, with rotation of refresh tokens on.
//
// usage: node server.mjs LIBRARY CERTIFICATES
//
// It writes its port to stdout. For each line `CLIENT` on stdin it writes a new refresh token of that client, as if a user
// had logged in. For the line `?` it writes what happened so far, as JSON. After the line `!none` it keeps refresh tokens when
// they are redeemed, and after `!grace` it replaces them and takes the old ones all the same. After the line `~MS` an answer takes
// so many milliseconds. It ends with stdin.
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

// The library writes notices. What is on stdout is read.
console.info = console.error;

const [library, certificates] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(library));
const file = (name) => readFileSync(`${certificates}/${name}`);

const client = (id, metadata) => ({
  client_id: id,
  grant_types: ['authorization_code', 'refresh_token'],
  redirect_uris: ['https://client.example/callback'],
  token_endpoint_auth_method: id,
  ...metadata,
});
const secret = { client_secret: 'a secret: with + odd letters %&' };
const key = { ...createPublicKey(file('client.key')).export({ format: 'jwk' }), kid: 'k1', use: 'sig' };

// Each client is named after how it shows who it is.
const clients = [
  client('client_secret_basic', secret),
  client('client_secret_post', secret),
  client('private_key_jwt', { jwks: { keys: [key] }, token_endpoint_auth_signing_alg: 'ES256' }),
  client('tls_client_auth', { tls_client_auth_subject_dn: 'CN=client' }),
  client('none', {}),
];

let handle;
const server = createServer(
  { cert: file('server.pem'), key: file('server.key'), ca: file('ca.pem'), requestCert: true, rejectUnauthorized: false },
  (request, response) => handle(request, response),
);
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const { port } = server.address();

let rotation = 'strict';
let takes = 25;

// The adapter of the library forgets what is older than a thousand entries.
class Memory {
  static grants = new Map();
  entries = new Map();
  async upsert(id, payload) {
    this.entries.set(id, payload);
    const { grantId } = payload;
    if (grantId) {
      const own = Memory.grants.get(grantId) ?? [];
      own.push([this.entries, id]);
      Memory.grants.set(grantId, own);
    }
  }
  async find(id) { return this.entries.get(id); }
  async findByUid(uid) { return [...this.entries.values()].find((entry) => entry.uid === uid); }
  async findByUserCode() { return undefined; }
  async consume(id) { if (rotation !== 'grace') this.entries.get(id).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { this.entries.delete(id); }
  async revokeByGrantId(grantId) {
    for (const [entries, id] of Memory.grants.get(grantId) ?? []) entries.delete(id);
    Memory.grants.delete(grantId);
  }
}

const provider = new Provider(`https://127.0.0.1:${port}`, {
  adapter: Memory,
  clients,
  clientAuthMethods: clients.map(({ client_id: id }) => id),
  scopes: ['openid', 'offline_access'],
  rotateRefreshToken: () => rotation !== 'none',
  cookies: { keys: ['for tests'] },
  findAccount: (context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  ttl: { AccessToken: 600, IdToken: 600, RefreshToken: 86400, Grant: 86400 },
  features: {
    devInteractions: { enabled: false },
    revocation: { enabled: true },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      getCertificate: (context) => context.socket.getPeerX509Certificate(),
      certificateAuthorized: (context) => context.socket.authorized,
      certificateSubjectMatches: (context, property, expected) =>
        `CN=${context.socket.getPeerCertificate().subject.CN}` === expected,
    },
  },
});
// A provider takes a while. So a broker that is killed mostly has requests under way.
provider.use(async (context, next) => {
  await next();
  if (context.path === '/token') await new Promise((done) => setTimeout(done, takes));
});
handle = provider.callback();

const happened = { redemptions: 0, refusals: 0, revocations: 0 };
provider.on('grant.success', () => { happened.redemptions += 1; });
provider.on('grant.error', () => { happened.refusals += 1; });
provider.on('grant.revoked', () => { happened.revocations += 1; });

async function logIn(id) {
  const client = await provider.Client.find(id);
  const grant = new provider.Grant({ accountId: 'alice', clientId: id });
  grant.addOIDCScope('openid offline_access');
  const grantId = await grant.save();
  const now = Math.floor(Date.now() / 1000);
  const token = new provider.RefreshToken({
    accountId: 'alice', authTime: now, claims: {}, client, grantId, gty: 'authorization_code', iiat: now, rotations: 0,
    scope: 'openid offline_access',
  });
  return token.save();
}

console.log(port);
async function answer(line) {
  if (line === '?') return JSON.stringify(happened);
  if (line.startsWith('!')) return rotation = line.slice(1);
  if (line.startsWith('~')) return takes = Number(line.slice(1));
  return logIn(line);
}
for await (const line of createInterface({ input: process.stdin })) console.log(await answer(line));
process.exit(0);
