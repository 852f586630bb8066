import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { chromiumPath } from './requirements.js';

const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export type BrowserOptions = NonNullable<Parameters<typeof chromium.launchPersistentContext>[1]>;

/**
 * A browser of its own for which every name of `example.com`, and of `evil.example`, is this machine's: Debian's chromium, or
 * the one that CHROMIUM names. Nothing is installed from here.
 */
export async function withBrowser(
  work: (page: Page, context: BrowserContext) => Promise<void>,
  options: BrowserOptions = {},
): Promise<void> {
  const profile = await mkdtemp(join(tmpdir(), 'gradcam-chromium-'));
  const rules = ['example.com', '*.example.com', 'evil.example'].map((name) => `MAP ${name} 127.0.0.1`);
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: chromiumPath as string,
    headless: true,
    args: [...args, `--host-resolver-rules=${rules.join(',')}`],
    ...options,
  });
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    page.setDefaultTimeout(120_000); // A guard against hanging, no measure.
    await work(page, context);
  } finally {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  }
}
