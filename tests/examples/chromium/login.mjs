// A user in a real browser, who logs in at examples/auth-server, calls both backends and logs out.
//
// usage: node login.mjs MODULES URL
//
// It writes a line for each page that it comes to: the text of the page, or for a provider's form what it asks for.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, url] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { default: chromium } = await load('@sparticuz/chromium');
const { default: playwright } = await load('playwright-core');

const browser = await playwright.chromium.launch({
  executablePath: await chromium.executablePath(),
  args: chromium.args,
});
const page = await browser.newPage();
page.setDefaultTimeout(30_000);
// The forms of oidc-provider name fonts of the Internet. Nothing outside this machine is asked.
await page.route('**', (route) =>
  new URL(route.request().url()).hostname === '127.0.0.1' ? route.continue() : route.abort());

const tell = async () => console.log((await page.innerText('body')).replace(/\s+/g, ' ').trim());
const click = (name) => page.getByRole('button', { name, exact: true }).first().click();

await page.goto(url);
await tell();
await click('Log in');
for (const name of ['alice', 'alice-2']) {
  await page.getByPlaceholder('Enter any login').fill(name);
  await page.getByPlaceholder('and password').fill('x');
  console.log(`${name} signs in`);
  await click('Sign-in');
  await click('Continue');
}
await page.waitForURL(`${url}/`);
await tell();
for (const name of ['one', 'two']) {
  await page.locator(`#provider-${name} button`).click();
  console.log(await page.innerText('#message'));
  await page.goto(url);
}
const cookie = (await page.context().cookies(url)).find(({ name }) => name === 'session');
console.log(`scripts see the session: ${await page.evaluate(() => document.cookie.includes('session='))}`);
console.log(`session cookie: httpOnly ${cookie.httpOnly}, sameSite ${cookie.sameSite}`);
await click('Log out');
await page.waitForURL(`${url}/`);
await tell();
await browser.close();
