// Works the console in Chromium as an operator does, on a desktop and on a phone, with script and without.
//
//   console.mjs <chromium> <url> <token> <approval>...     one approval for each of the ways, to be approved
//
// Prints {steps, complaints}: what each way saw, and every console error, CSP violation and page that scrolls sideways.
import { peer } from './peers.mjs';

const { chromium } = peer('playwright-core');
const [executablePath, url, token, ...approvals] = process.argv.slice(2);

const ways = [
    { viewport: { width: 1280, height: 800 }, colorScheme: 'light', javaScriptEnabled: true },
    { viewport: { width: 390, height: 844 }, colorScheme: 'dark', javaScriptEnabled: false },
];
const pages = ['approvals', 'kills', 'sessions', 'servers', 'policy', 'readiness'];
const browser = await chromium.launch({ executablePath, headless: true, args: ['--no-sandbox', '--disable-gpu'] });
const complaints = [];
const steps = [];
for (const [at, way] of ways.entries()) {
    const context = await browser.newContext(way);
    const tab = await context.newPage();
    tab.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
    tab.on('pageerror', (error) => complaints.push(String(error)));
    tab.on('dialog', (dialog) => complaints.push(`dialog: ${dialog.message()}`));
    const fits = async () => {
        // Playwright evaluates in pages without script, too.
        const wide = await tab.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (wide > 0) complaints.push(`${tab.url()} scrolls ${wide} px sideways at ${way.viewport.width}`);
    };

    await tab.goto(`${url}/console/approvals/${approvals[at]}`);
    await fits();
    await tab.getByLabel('Operator token').fill(token);
    await tab.getByRole('button', { name: 'Sign in' }).click();
    const landed = new URL(tab.url()).pathname;
    for (const page of pages) {
        await tab.goto(`${url}/console/${page}`);
        await fits();
    }
    await tab.goto(`${url}/console`);
    await tab.locator(`a[href="/console/approvals/${approvals[at]}"]`).click();
    await fits();
    const shown = await tab.locator('.tree').first().innerText();
    await tab.getByLabel('Reason').fill('looked at it');
    await tab.getByLabel('Operator token').fill(token);
    await tab.getByRole('button', { name: 'Approve once' }).click();
    await tab.getByText('approved', { exact: true }).first().waitFor();
    await fits();
    const state = await tab.locator('.head .chip').first().innerText();

    await tab.goto(`${url}/console/kills?scope=caller&target=nobody`);
    await tab.getByRole('button', { name: 'Show what it would cut' }).click();
    await fits();
    await tab.getByLabel('Reason').fill('trying it');
    await tab.getByLabel('Operator token').fill(token);
    await tab.getByRole('button', { name: 'Cut off' }).click();
    const killed = await tab.locator('.cards').first().innerText();
    await tab.getByRole('button', { name: 'Sign out' }).click();
    await tab.goto(`${url}/console/sessions`);
    steps.push({ landed, shown, state, killed: killed.includes('nobody'), out: new URL(tab.url()).pathname });
    await context.close();
}
await browser.close();
console.log(JSON.stringify({ steps, complaints }));
