import type { ExecutionContext } from 'ava';
import axe from 'axe-core';
import type { BrowserContext, Page } from 'playwright-core';
import { type BrowserOptions, withBrowser } from './browser.js';
import { until } from './until.js';

export type PageWork = (page: Page, context: BrowserContext) => Promise<void>;

/** Runs with the server's page open in a browser of its own; errors on the page and requests to elsewhere fail the test. */
export async function openPage(
  t: ExecutionContext,
  url: string,
  options: BrowserOptions,
  work: PageWork,
): Promise<void> {
  const problems: string[] = [];
  const watched: PageWork = async (page, context) => {
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error' && !/status of 401/.test(message.text())) problems.push(message.text());
    });
    page.on('request', (request) => {
      if (!request.url().startsWith(url) && !/^(data|blob):/.test(request.url()))
        problems.push(`asked ${request.url()}`);
    });
    await page.goto(url);
    await work(page, context);
  };
  await withBrowser(watched, { acceptDownloads: true, ...options });
  t.deepEqual(problems, []);
}

/** Until what was done just now shows: Preact renders with the next frames. */
export async function rendered(page: Page): Promise<void> {
  await page.evaluate(
    'new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve, 20))))',
  );
}

/** Waits until so many maps are shown and none is out of date. (The page's policy forbids waitForFunction's eval.) */
export async function settled(page: Page, figures: number): Promise<void> {
  const isSettled = `document.querySelectorAll('figure.result').length === ${figures} &&
    !document.querySelector('figure.stale') && !document.querySelector('.progress.on')`;
  await rendered(page);
  await until(`${figures} maps that are not out of date`, () => page.evaluate<boolean>(isSettled));
}

/** What axe finds that keeps people out. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const found = (await page.evaluate('axe.run()')) as axe.AxeResults;
  return found.violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`,
  );
}
