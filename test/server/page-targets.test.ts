import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Page } from 'playwright-core';
import { asStored, describeIn, picture } from '../helpers/dense-server.js';
import { chromiumPath } from '../helpers/requirements.js';
import { fixturePath } from '../helpers/root.js';
import { photoPath, type RunningServer, startServer } from '../helpers/server.js';
import { openPage, settled, violations } from '../helpers/server-page.js';
import { testWith } from '../helpers/test-with.js';
import { until } from '../helpers/until.js';

// What the page offers for models that are no classifiers, in a real browser: boxes on the picture, categories, texts.

const inBrowser = testWith('Chromium');
let folder: string;
let running: RunningServer;
test.before(async () => {
  if (!chromiumPath) return;
  folder = await mkdtemp(join(tmpdir(), 'gradcam page '));
  const paths = await describeIn(folder, {
    finds: {
      file: 'box-targets/finds.pt',
      sidecar: {
        task: 'detection',
        layer: 'conv',
        input: { width: 24, height: 24, interpolation: 'nearest', antialias: false, ...asStored },
      },
    },
    segmenter: {
      file: 'detection/deeplabv3.pt',
      sidecar: {
        task: 'segmentation',
        output: 'out',
        labels: ['background', 'car', 'bus', 'cat'],
        input: { width: 64, height: 48, ...asStored },
      },
    },
  });
  running = await startServer({ models: { ...paths, clip: fixturePath('clip/resnet.pt') } });
});
test.after.always(async () => {
  await running?.server.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

const withPage = (t: ExecutionContext, work: (page: Page) => Promise<void>) =>
  openPage(t, running.url, { viewport: { width: 1280, height: 860 } }, async (page) => {
    await page.waitForSelector('.chip');
    await work(page);
    t.deepEqual(await violations(page), []);
  });

const names = (page: Page) => page.locator('figcaption .what').allTextContents();

inBrowser('boxes are drawn where they are, and chosen by clicking and by the keyboard', async (t) => {
  await withPage(t, async (page) => {
    await page.setInputFiles('input[type=file]', {
      name: 'picture.png',
      mimeType: 'image/png',
      buffer: Buffer.from(await picture({ times: 8 })),
    });
    await settled(page, 1);
    t.regex((await names(page))[0] ?? '', /^class 3 59\.7%$/);
    t.is(await page.locator('.boxes button').count(), 2);
    const large = page.getByRole('button', { name: 'Box 1: class 7' });
    const [frame, box] = [await page.locator('.seen').boundingBox(), await large.boundingBox()];
    // (1.62, 1.18, 22.13, 19.74) of 24 pixels: PyTorch's.
    const share = (value = 0, length = 1) => value / length;
    const left = share((box?.x ?? 0) - (frame?.x ?? 0), frame?.width);
    const bottom = share((box?.y ?? 0) + (box?.height ?? 0) - (frame?.y ?? 0), frame?.height);
    t.true(Math.abs(left - 1.624 / 24) < 0.01, `${left}`);
    t.true(Math.abs(bottom - 19.743 / 24) < 0.01, `${bottom}`);
    await large.click({ position: { x: 3, y: 3 } });
    await settled(page, 2);
    const [first = '', second = ''] = await names(page);
    t.regex(first, /^class 3 59\.7%$/);
    t.regex(second, /^class 7 49\.7%$/);
    await page.getByRole('button', { name: 'Box 0' }).first().focus();
    await page.keyboard.press('Enter');
    await settled(page, 1);
    t.regex((await names(page))[0] ?? '', /^class 7 49\.7%$/);
    await page.locator('.class-row', { hasText: 'class 3' }).click();
    await settled(page, 2);
  });
});

inBrowser('categories are chosen by their shares', async (t) => {
  await withPage(t, async (page) => {
    await page.locator('select').first().selectOption('segmenter');
    await page.setInputFiles('input[type=file]', photoPath);
    // The model before explains it, too, if the photo is quicker than the description of this one.
    const category = /^(car|bus|cat) on \d+\.\d%$/;
    await until('a category to be explained', async () => category.test((await names(page))[0] ?? ''));
    await settled(page, 1);
    t.regex((await names(page))[0] ?? '', category);
    t.is(await page.locator('legend').first().textContent(), 'Categories');
    await page.locator('.class-row', { hasText: 'background' }).click();
    await settled(page, 2);
  });
});

inBrowser('a CLIP has a field for texts', async (t) => {
  await withPage(t, async (page) => {
    await page.locator('select').first().selectOption('clip');
    await page.setInputFiles('input[type=file]', photoPath);
    const field = page.getByLabel('What to look for');
    await field.fill('the cat');
    await field.press('Enter');
    await settled(page, 1);
    t.regex((await names(page))[0] ?? '', /^the cat -?0\.\d\d$/);
    await field.fill('the sofa');
    await field.press('Enter');
    await settled(page, 2);
    await page.locator('.class-row', { hasText: 'the cat' }).locator('input').click();
    await settled(page, 1);
    t.regex((await names(page))[0] ?? '', /^the sofa/);
  });
});
