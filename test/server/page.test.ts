import { readFile } from 'node:fs/promises';
import test, { type ExecutionContext } from 'ava';
import type { Page } from 'playwright-core';
import sharp from 'sharp';
import type { BrowserOptions } from '../helpers/browser.js';
import { liteModel } from '../helpers/fixtures.js';
import { chromiumPath } from '../helpers/requirements.js';
import { photoPath, type RunningServer, startServer } from '../helpers/server.js';
import { openPage, type PageWork, rendered, settled, violations } from '../helpers/server-page.js';
import { testWith } from '../helpers/test-with.js';
import { until } from '../helpers/until.js';

// The page in a real browser.
const inBrowser = testWith('Chromium');

let running: RunningServer;
test.before(async () => {
  if (chromiumPath) running = await startServer({ maxBatch: 2 });
});
test.after.always(async () => {
  await running?.server.close();
});

const withPage = (t: ExecutionContext, options: BrowserOptions, work: PageWork, url = running.url) =>
  openPage(t, url, options, work);

async function openPhoto(page: Page, figures = 1): Promise<void> {
  await page.setInputFiles('input[type=file]', photoPath);
  await settled(page, figures);
}

/** Mean colour of a canvas. */
const colourOf = async (page: Page, index = 0) => {
  await rendered(page);
  return (await page.evaluate(`(() => {
    const canvas = document.querySelectorAll('figure.result canvas')[${index}];
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const sums = [0, 0, 0];
    for (let at = 0; at < data.length; at += 4) for (let c = 0; c < 3; c++) sums[c] += data[at + c];
    return sums.map((sum) => sum / (data.length / 4));
  })()`)) as number[];
};

inBrowser('an image in, the likeliest classes and the heat out', async (t) => {
  await withPage(t, { viewport: { width: 1280, height: 860 } }, async (page) => {
    t.is(await page.locator('select').first().inputValue(), 'lite');
    await openPhoto(page);
    const rows = await page.locator('.class-row .name').allTextContents();
    t.deepEqual(rows, ['tiger cat', 'Egyptian cat', 'tabby', 'lynx', 'window screen']);
    t.regex((await page.locator('.class-row .probability').first().textContent()) ?? '', /^40\.\d%$/);
    const facts = await page.locator('.facts').textContent();
    t.regex(facts ?? '', /Time\d.*Queue\d.*Model\d.*Batch1 image.*Pending\d/);
    const warm = await colourOf(page);
    // Without heat it is the photo, with all of it the colours alone.
    await page.locator('.opacity input').fill('0');
    const photo = await colourOf(page);
    await page.locator('.opacity input').fill('1');
    const heat = await colourOf(page);
    const far = (a: number[], b: number[]) => Math.hypot(...a.map((value, index) => value - (b[index] ?? 0)));
    t.true(far(photo, heat) > 40 && far(warm, photo) > 10 && far(warm, heat) > 10);
    const crop = sharp(photoPath).extract({ left: 94, top: 19, width: 263, height: 262 });
    const { channels } = await sharp(await crop.removeAlpha().png().toBuffer()).stats();
    const mean = channels.map((channel) => channel.mean);
    t.true(far(photo, mean) < 1, `the part that the model saw: ${photo}, expected ${mean}`);
  });
});

inBrowser('classes, methods and layers are compared side by side', async (t) => {
  await withPage(t, { viewport: { width: 1280, height: 860 } }, async (page) => {
    await openPhoto(page);
    await page.locator('.class-row', { hasText: 'tabby' }).click();
    await settled(page, 2);
    await page.locator('.chip', { hasText: 'layercam' }).click();
    await settled(page, 4);
    t.deepEqual(
      (await page.locator('figcaption .how').allTextContents()).map((text) => text.split(' ')[0]),
      ['gradcam', 'gradcam', 'layercam', 'layercam'],
    );
    const before = await colourOf(page);
    await page.locator('summary', { hasText: '16 inside' }).click();
    await page.locator('.layer', { hasText: '_conv_stem' }).first().locator('input').check();
    await settled(page, 4);
    t.notDeepEqual(await colourOf(page), before);
    await page.getByRole('button', { name: 'reset' }).click();
    await settled(page, 4);
    t.deepEqual(await colourOf(page), before);
    await page.getByLabel('Add another class').fill('goldfish');
    await settled(page, 6);
    t.true((await page.locator('figcaption strong').allTextContents()).includes('goldfish'));
  });
});

inBrowser('PNG and JSON are saved', async (t) => {
  await withPage(t, { viewport: { width: 1280, height: 860 } }, async (page) => {
    await openPhoto(page);
    const save = async (button: string) => {
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('button', { name: button }).click(),
      ]);
      return { name: download.suggestedFilename(), bytes: await readFile(await download.path()) };
    };
    const png = await save('as PNG');
    t.is(png.name, 'chelsea-gradcam-282.png');
    const { format, width, height } = await sharp(png.bytes).metadata();
    t.is(format, 'png');
    t.true((width ?? 0) >= 448 && width === height);
    const json = await save('Save JSON');
    t.is(json.name, 'chelsea-explanation.json');
    t.like(JSON.parse(json.bytes.toString()), [
      { model: 'lite', explained: [{ class: 282, label: 'tiger cat' }] },
    ]);
  });
});

inBrowser('everything can be reached and used with the keyboard', async (t) => {
  await withPage(t, { viewport: { width: 1280, height: 860 } }, async (page) => {
    await openPhoto(page);
    const reached = new Set<string>();
    for (let presses = 0; presses < 80; presses++) {
      await page.keyboard.press('Tab');
      reached.add(
        (await page.evaluate(
          "(() => { const e = document.activeElement; return e.closest('.chip') ? 'method' : e.closest('.layer') ? 'layer' : e.closest('.class-row') ? 'class' : e.type === 'range' ? 'opacity' : e.type === 'file' ? 'file' : e.className === 'search' ? 'search' : e.tagName.toLowerCase(); })()",
        )) as string,
      );
    }
    for (const what of [
      'select',
      'opacity',
      'button',
      'file',
      'class',
      'search',
      'method',
      'layer',
      'summary',
    ])
      t.true(reached.has(what), `${what} of ${[...reached].join()}`);
    await page.locator('.class-row input').nth(1).focus();
    await page.keyboard.press('Space');
    await settled(page, 2);
    await page.locator('.opacity input').focus();
    await page.keyboard.press('End');
    t.is(await page.locator('.opacity output').textContent(), '100%');
  });
});

for (const colorScheme of ['light', 'dark'] as const) {
  inBrowser(`nothing against accessibility (${colorScheme}), on a phone neither`, async (t) => {
    await withPage(t, { viewport: { width: 1280, height: 860 }, colorScheme }, async (page) => {
      await page.waitForSelector('.chip');
      t.deepEqual(await violations(page), []);
      await openPhoto(page);
      t.deepEqual(await violations(page), []);
      await page.setViewportSize({ width: 390, height: 844 });
      await rendered(page);
      t.deepEqual(await violations(page), []);
      const overflow = await page.evaluate('document.documentElement.scrollWidth - window.innerWidth');
      t.is(overflow, 0, 'nothing sticks out');
    });
  });
}

inBrowser('a failure is told, and a token is asked for', async (t) => {
  await withPage(t, {}, async (page) => {
    await page.setInputFiles('input[type=file]', {
      name: 'broken.png',
      mimeType: 'image/png',
      buffer: Buffer.from('no picture'),
    });
    await page.getByRole('alert').waitFor();
    t.regex((await page.getByRole('alert').textContent()) ?? '', /cannot show broken\.png/);
  });
  await using guarded = await startServer({ maxBatch: 1, tokens: ['correct horse'] });
  await withPage(
    t,
    {},
    async (page) => {
      await page.getByLabel('This server wants a token').fill('correct horse');
      await page.getByRole('button', { name: 'Continue' }).click();
      await openPhoto(page);
      t.is(await page.locator('.class-row').count(), 5);
    },
    guarded.url,
  );
});

inBrowser('of two models that are chosen one after the other, the second stays', async (t) => {
  const two = await startServer({ models: { first: liteModel, second: liteModel, third: liteModel } });
  t.teardown(() => two.server.close());
  const work = async (page: Page) => {
    const select = page.locator('label.model select');
    t.is(await select.inputValue(), 'first');
    // What the server says of the second is held back until the third is shown.
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    await page.route('**/explain/second', async (route) => {
      await held;
      await route.continue();
    });
    const late = page.waitForResponse('**/explain/second');
    await select.selectOption('second');
    await select.selectOption('third');
    await until('the third model', async () => (await select.inputValue()) === 'third');
    release();
    await (await late).finished();
    await rendered(page);
    const asked = page.waitForRequest((request) => request.method() === 'POST');
    await page.setInputFiles('input[type=file]', photoPath);
    t.regex((await asked).url(), /\/explain\/third\?/);
    await settled(page, 1);
  };
  await withPage(t, { viewport: { width: 1280, height: 860 } }, work, two.url);
});
