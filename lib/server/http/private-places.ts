import { homedir, tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { packageRoot } from '../../addon/addon.js';

// Where things lie on this machine is its operator's business: their log has it, a client's answer has not.

const hidden = '(path)';
/** In quotes, where a path may have spaces; and as a word of two folders or more. */
const quoted = /(['"`])\/(?:(?!\1).)*\1/gs;
const bare = /(?<![\w/:.~-])(?:file:\/\/)?\/(?:[^\s/'"`,;:()]+\/)+[^\s'"`,;:()]*/g;

/** Takes all absolute paths out of a text; it is for texts that hold nothing of a client's. */
export function hideEveryPlace(text: string): string {
  return text.replace(quoted, `$1${hidden}$1`).replace(bare, hidden);
}

/**
 * Makes a function that takes places of the machine out of a text, which may quote what a client sent: what lies in the
 * given files and folders, in the package, at home, in the current folder and where temporary files are.
 */
export function hidingPlaces(places: readonly string[]): (text: string) => string {
  const known = [...places, packageRoot, homedir(), process.cwd(), tmpdir()];
  const spelt = [
    ...new Set(known.flatMap((place) => [resolve(place), ...(place.includes('/') ? [place] : [])])),
  ]
    .filter((place) => place.length > 1)
    .sort((one, other) => other.length - one.length);
  const inQuotes = spelt.map(literally).join('|');
  const ofQuotes = new RegExp(`(['"\`])(?:${inQuotes})(?:/(?:(?!\\1).)*)?\\1`, 'gs');
  const ofWords = new RegExp(`(?<![\\w/.~-])(?:${inQuotes})(?:/[^\\s'"\`,;:()]*)?(?![\\w-])`, 'g');
  return (text) => text.replace(ofQuotes, `$1${hidden}$1`).replace(ofWords, hidden);
}

function literally(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
