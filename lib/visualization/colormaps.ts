import { invalidArgumentType } from '../errors.js';

/** Names of the colour maps. */
export type ColormapName = 'jet' | 'gray';

/** OpenCV's COLORMAP_JET, which pytorch-grad-cam draws with: 256 times red, green, blue. */
const jet =
  'AACAAACEAACIAACMAACQAACUAACYAACcAACgAACkAACoAACsAACwAAC0AAC4AAC8AADAAADEAADIAADMAADQAADUAADYAADcAADg' +
  'AADkAADoAADsAADwAAD0AAD4AAD8AAD/AAT/AAj/AAz/ABD/ABT/ABj/ABz/ACD/ACT/ACj/ACz/ADD/ADT/ADj/ADz/AED/AET/' +
  'AEj/AEz/AFD/AFT/AFj/AFz/AGD/AGT/AGj/AGz/AHD/AHT/AHj/AHz/AID/AIT/AIj/AIz/AJD/AJT/AJj/AJz/AKD/AKT/AKj/' +
  'AKz/ALD/ALT/ALj/ALz/AMD/AMT/AMj/AMz/AND/ANT/ANj/ANz/AOD/AOT/AOj/AOz/APD/APT/APj/APz/Av/+Bv/6Cv/2Dv/y' +
  'Ev/uFv/qGv/mHv/iIv/eJv/aKv/WLv/SMv/ONv/KOv/GPv/CQv++Rv+6Sv+2Tv+yUv+uVv+qWv+mXv+iYv+eZv+aav+Wbv+Scv+O' +
  'dv+Kev+Gfv+Cgv9+hv96iv92jv9ykv9ulv9qmv9mnv9iov9epv9aqv9Wrv9Ssv9Otv9Kuv9Gvv9Cwv8+xv86yv82zv8y0v8u1v8q' +
  '2v8m3v8i4v8e5v8a6v8W7v8S8v8O9v8K+v8G/v8B//wA//gA//QA//AA/+wA/+gA/+QA/+AA/9wA/9gA/9QA/9AA/8wA/8gA/8QA' +
  '/8AA/7wA/7gA/7QA/7AA/6wA/6gA/6QA/6AA/5wA/5gA/5QA/5AA/4wA/4gA/4QA/4AA/3wA/3gA/3QA/3AA/2wA/2gA/2QA/2AA' +
  '/1wA/1gA/1QA/1AA/0wA/0gA/0QA/0AA/zwA/zgA/zQA/zAA/ywA/ygA/yQA/yAA/xwA/xgA/xQA/xAA/wwA/wgA/wQA/wAA/AAA' +
  '+AAA9AAA8AAA7AAA6AAA5AAA4AAA3AAA2AAA1AAA0AAAzAAAyAAAxAAAwAAAvAAAuAAAtAAAsAAArAAAqAAApAAAoAAAnAAAmAAA' +
  'lAAAkAAAjAAAiAAAhAAAgAAA';

const tables: Record<ColormapName, Uint8Array> = {
  jet: Uint8Array.from(Buffer.from(jet, 'base64')),
  gray: Uint8Array.from({ length: 768 }, (_, index) => Math.floor(index / 3)),
};

/**
 * 256 RGB colours, 768 bytes.
 * @internal
 */
export function colormapTable(name: unknown): Uint8Array {
  if (typeof name === 'string' && Object.hasOwn(tables, name)) return tables[name as ColormapName];
  throw invalidArgumentType('colormap', `one of '${Object.keys(tables).join("', '")}'`, name);
}
