// An upstream provider for the example: npm's oidc-provider, with its forms for login and consent. Any name and password do.
//
// usage: node provider.mjs LIBRARY NAME SECRET
//
// It writes its issuer to stdout, and reads lines from stdin, each of which is answered by one. The first is the redirect URI of its
// client. After the line `forget` it knows no access token any more. After `down` it can't be reached, and after `failing` it redeems
// no code. After `rewrite THIS THAT` it sends users elsewhere than it should: THIS is replaced in the URL. `up` ends all of this, except
// that tokens are forgotten. It ends with stdin.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

// The library writes notices. What is on stdout is read.
console.info = console.error;

const [library, name, secret] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(library));

let handle = (request, response) => response.writeHead(503).end();
const server = createServer((request, response) => handle(request, response));
const listen = (port) => new Promise((done) => server.listen(port, '127.0.0.1', done));
await listen(0);
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;

const accessTokens = new Set();
const happened = { redemptions: 0 };
let failing = false;
let rewritten = ['', ''];

function start(redirectURI) {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'auth-server',
      client_secret: secret,
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: [redirectURI],
    }],
    pkce: { required: () => true },
    scopes: ['openid', 'offline_access'],
    rotateRefreshToken: true,
    findAccount: (context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    // Cookies don't tell ports apart, and all providers are on one host.
    cookies: {
      keys: [secret],
      names: { session: `${name}_session`, interaction: `${name}_interaction`, resume: `${name}_resume` },
    },
    ttl: { AccessToken: 300, IdToken: 300, RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 600 },
  });
  provider.on('access_token.issued', (token) => accessTokens.add(token));
  provider.on('access_token.saved', (token) => accessTokens.add(token));
  provider.on('grant.success', ({ oidc }) => {
    if (oidc.params.grant_type === 'refresh_token') happened.redemptions += 1;
  });
  const serve = provider.callback();
  handle = (request, response) => {
    if (failing && request.url === '/token') return response.writeHead(503).end();
    const setHeader = response.setHeader.bind(response);
    response.setHeader = (header, value) =>
      setHeader(header, header === 'Location' ? value.replace(...rewritten) : value);
    return serve(request, response);
  };
}

async function answer(line) {
  const [word, ...words] = line.split(' ');
  switch (word) {
    case '?': return JSON.stringify(happened);
    case 'forget':
      for (const token of accessTokens) await token.destroy();
      accessTokens.clear();
      return line;
    case 'down':
      await new Promise((done) => {
        server.close(done);
        server.closeAllConnections();
      });
      return line;
    case 'failing':
      failing = true;
      return line;
    case 'rewrite':
      rewritten = words;
      return line;
    case 'up':
      failing = false;
      rewritten = ['', ''];
      if (!server.listening) await listen(port);
      return line;
    default:
      start(line);
      return line;
  }
}

console.log(issuer);
for await (const line of createInterface({ input: process.stdin })) console.log(await answer(line));
process.exit(0);
