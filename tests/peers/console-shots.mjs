// Pictures every page of the console in Chromium: on a desktop and on a phone, light and dark, with hostile texts, empty and failed.
//
//   console-shots.mjs <chromium> <url> <token> <folder> <name=path>...     writes <folder>/<name>-<desktop|phone>-<light|dark>.png
//
// Prints {shots, complaints}: the number of pictures, and every console error, CSP violation and page that scrolls sideways.
import { peer } from './peers.mjs';

const { chromium } = peer('playwright-core');
const [executablePath, url, token, folder, ...pages] = process.argv.slice(2);

const ways = {
    desktop: { width: 1100, height: 680 },
    phone: { width: 390, height: 760 },
};
/** A page that is longer is pictured down to here. */
const LONGEST = 1500;
const browser = await chromium.launch({ executablePath, headless: true, args: ['--no-sandbox', '--disable-gpu'] });
const complaints = [];
let shots = 0;
for (const [way, viewport] of Object.entries(ways)) {
    for (const colorScheme of ['light', 'dark']) {
        const context = await browser.newContext({ viewport, colorScheme });
        const tab = await context.newPage();
        // A page that is not found says so in the console, too.
        const isOurs = (text) => !text.includes('Failed to load resource');
        tab.on('console', (it) => ['error', 'warning'].includes(it.type()) && isOurs(it.text()) && complaints.push(it.text()));
        tab.on('pageerror', (error) => complaints.push(String(error)));
        tab.on('dialog', (dialog) => complaints.push(`dialog: ${dialog.message()}`));
        const picture = async (name) => {
            const [wide, high] = await tab.evaluate(() => {
                const { scrollWidth, clientWidth, scrollHeight } = document.documentElement;
                return [scrollWidth - clientWidth, scrollHeight];
            });
            if (wide > 0) complaints.push(`${name} scrolls ${wide} px sideways at ${viewport.width}`);
            await tab.setViewportSize({ ...viewport, height: Math.min(Math.max(high, viewport.height), LONGEST) });
            await tab.screenshot({ path: `${folder}/${name}-${way}-${colorScheme}.png` });
            await tab.setViewportSize(viewport);
            shots += 1;
        };
        await tab.goto(`${url}/console/login`);
        await picture('login');
        await tab.getByLabel('Operator token').fill(token);
        await tab.getByRole('button', { name: 'Sign in' }).click();
        for (const page of pages) {
            const at = page.indexOf('=');
            await tab.goto(url + page.slice(at + 1));
            await picture(page.slice(0, at));
        }
        await tab.goto(`${url}/console/kills?scope=server&target=crm`);
        await tab.getByRole('button', { name: 'Show what it would cut' }).click();
        await picture('preview');
        await tab.getByLabel('Reason').fill('deletes in a loop');
        await tab.getByLabel('Operator token').fill('kgo_wrong');
        await tab.getByRole('button', { name: 'Cut off' }).click();
        await picture('refused');
        await context.clearCookies();
        await tab.getByLabel('Operator token').fill(token);
        await tab.getByRole('button', { name: 'Cut off' }).click();
        await picture('ended');
        await context.close();
    }
}
await browser.close();
console.log(JSON.stringify({ shots, complaints }));
