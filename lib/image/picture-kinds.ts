import { open } from 'node:fs/promises';
import { extname } from 'node:path';

/** A kind of picture that is known and cannot be read. */
export interface UnreadableKind {
  readonly name: string;
  /** Ends "..., so " with what to do. */
  readonly cure: string;
  readonly extensions: readonly string[];
  readonly matches: (start: Uint8Array) => boolean;
}

const text = (start: Uint8Array, from: number, to: number) =>
  Buffer.from(start.subarray(from, to)).toString('latin1');
const heifBrands = /^(hei[cxms]|hev[cxms]|mif1|msf1)$/;

const kinds: readonly UnreadableKind[] = [
  {
    name: 'HEIC',
    cure: 'convert it to JPEG or PNG (heif-convert, or export it as JPEG)',
    extensions: ['.heic', '.heif', '.hif'],
    matches: (start) => text(start, 4, 8) === 'ftyp' && heifBrands.test(text(start, 8, 12)),
  },
  {
    name: 'DICOM',
    cure: 'convert its pixels to PNG or TIFF of 16 bits (pydicom, dcm2pnm), and say with `range` which values are black and white',
    extensions: ['.dcm', '.dicom', '.dic'],
    matches: (start) => text(start, 128, 132) === 'DICM',
  },
  {
    name: 'JPEG 2000',
    cure: 'convert it to PNG or TIFF (opj_decompress)',
    extensions: ['.jp2', '.j2k', '.j2c', '.jpf', '.jpx', '.jpc'],
    matches: (start) => text(start, 4, 12) === 'jP  \r\n\x87\n' || text(start, 0, 4) === '\xff\x4f\xff\x51',
  },
  {
    name: 'BMP',
    cure: 'convert it to PNG',
    extensions: ['.bmp', '.dib'],
    matches: (start) => text(start, 0, 2) === 'BM',
  },
];

/** What pictures of pixels begin with, of the kinds that are read. */
const rasterKinds: readonly ((start: Uint8Array) => boolean)[] = [
  (start) => text(start, 0, 3) === '\xff\xd8\xff', // JPEG
  (start) => text(start, 0, 8) === '\x89PNG\r\n\x1a\n',
  (start) => text(start, 0, 4) === 'RIFF' && text(start, 8, 12) === 'WEBP',
  (start) => /^GIF8[79]a$/.test(text(start, 0, 6)),
  (start) => /^(II[*+]\0|MM\0[*+])$/.test(text(start, 0, 4)), // TIFF and BigTIFF
  isAvif,
];

/** AVIF names itself first, or among the brands that it can be read as. */
function isAvif(start: Uint8Array): boolean {
  if (text(start, 4, 8) !== 'ftyp') return false;
  const length = Buffer.from(start.subarray(0, 4)).readUInt32BE();
  const brands = text(start, 8, 12) + text(start, 16, Math.min(length, startLength));
  return /^(.{4})*(avif|avis)/s.test(brands);
}

/**
 * Whether a file's first bytes are those of JPEG, PNG, WebP, GIF, TIFF or AVIF: what may come from strangers. SVG is not
 * among them: it is a program for a renderer, and not pixels.
 * @internal
 */
export function isRasterPicture(bytes: Uint8Array): boolean {
  return rasterKinds.some((matches) => matches(bytes.subarray(0, startLength)));
}

/** So many bytes of a file tell its kind. */
const startLength = 132;

const pictureExtensions = new Set(['.jpg', '.jpeg', '.png', '.webp', '.avif', '.tif', '.tiff', '.gif']);
const unreadableExtensions = new Set(kinds.flatMap(({ extensions }) => extensions));

/** @internal Of a picture that could not be read, which kind it is; null where that is not known. */
export async function unreadableKind(source: string | Uint8Array): Promise<UnreadableKind | null> {
  const start = typeof source === 'string' ? await startOf(source) : source.subarray(0, startLength);
  return kinds.find(({ matches }) => matches(start)) ?? null;
}

async function startOf(path: string): Promise<Uint8Array> {
  try {
    await using file = await open(path, 'r');
    const { buffer, bytesRead } = await file.read(Buffer.alloc(startLength), 0, startLength, 0);
    return buffer.subarray(0, bytesRead);
  } catch {
    return new Uint8Array();
  }
}

/**
 * Whether a file in a folder is a picture: one that `loadImage` reads, by its name, or one of a known kind that it cannot
 * read, so that whoever explains the folder is told of it. A DICOM file often has no extension.
 * @internal
 */
export async function isPictureFile(path: string): Promise<boolean> {
  const extension = extname(path).toLowerCase();
  if (extension === '') return (await unreadableKind(path)) !== null;
  return pictureExtensions.has(extension) || unreadableExtensions.has(extension);
}
