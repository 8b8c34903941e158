// A headless Chromium that does what it is told.
//
// usage: node driver.mjs MODULES
//
// It reads commands from stdin, each a line of JSON: { person, tab, act, with }. Each person has cookies of their own, and tabs that
// share them. The answer is a line of JSON: { value } or { error }. It ends with stdin.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [modules] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { default: chromium } = await load('@sparticuz/chromium');
const { default: playwright } = await load('playwright-core');

const browser = await playwright.chromium.launch({
  executablePath: await chromium.executablePath(),
  // Playwright turns off what shows a page again as it was left. People have it, and a page must not be shown after a logout.
  ignoreDefaultArgs: ['--disable-back-forward-cache'],
  // Not the arguments that the package advises: they turn off the web's security, and put all tabs into one process.
  args: [
    '--no-sandbox',
    // The forms of oidc-provider name fonts of the Internet. Nothing outside this machine is asked, and `evil.test` is on it.
    '--host-resolver-rules=MAP evil.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  ],
});

const people = new Map();
const tabs = new Map();

async function tabOf(person, name) {
  const key = `${person} ${name}`;
  if (!tabs.has(key)) {
    if (!people.has(person)) people.set(person, await browser.newContext());
    const page = await people.get(person).newPage();
    page.setDefaultTimeout(20_000);
    const addresses = [];
    const requests = [];
    page.on('framenavigated', (frame) => frame === page.mainFrame() && addresses.push(frame.url()));
    page.on('request', (request) => request.isNavigationRequest() && requests.push(request.url()));
    tabs.set(key, { page, addresses, requests });
  }
  return tabs.get(key);
}

// Does something after which the browser is on another page, which may be that it can't reach a server.
async function arrive(page, something) {
  const [arrived] = await Promise.all([
    page.waitForNavigation({ waitUntil: 'load' }).catch((error) => error),
    something().catch((error) => error),
  ]);
  if (!(arrived instanceof Error)) return '';
  const known = /net::(ERR_\w+)/.exec(arrived.message);
  if (!known) throw arrived;
  return known[1];
}

const acts = {
  go: ({ page }, url) => arrive(page, () => page.goto(url)),
  back: ({ page }) => arrive(page, () => page.goBack()),
  reload: ({ page }) => arrive(page, () => page.reload()),
  // A button or a link, by what stands on it.
  click: ({ page }, name, inside = 'body') => {
    const found = page.locator(inside);
    const clicked = found.getByRole('button', { name, exact: true }).or(found.getByRole('link', { name, exact: true }));
    return arrive(page, () => clicked.first().click());
  },
  // Clicks, and doesn't wait for the page.
  press: ({ page }, name) => page.getByRole('button', { name, exact: true }).click({ noWaitAfter: true }),
  arrived: ({ page }, url) => page.waitForURL(url),
  fill: ({ page }, placeholder, text) => page.getByPlaceholder(placeholder).fill(text),
  text: async ({ page }) => (await page.innerText('body')).replace(/\s+/g, ' ').trim(),
  url: ({ page }) => page.url(),
  addresses: ({ addresses }) => addresses,
  requests: ({ requests }) => requests,
  evaluate: ({ page }, script) => page.evaluate(script),
  cookies: ({ page }) => page.context().cookies(),
  add: ({ page }, cookie) => page.context().addCookies([cookie]),
  leave: ({ page }) => page.context().close(),
  clear: ({ page }) => page.context().clearCookies(),
};

console.log(JSON.stringify({ value: browser.version() }));
for await (const line of createInterface({ input: process.stdin })) {
  const { person, tab, act, with: given } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await acts[act](await tabOf(person, tab), ...given)) ?? null };
  } catch (error) {
    answer = { error: String(error), late: error.name === 'TimeoutError' };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
