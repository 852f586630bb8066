import { decodeHTML, decodeHTMLStrict } from 'entities';

// Text as CLIP's own tokenizer cleans it before anything else: ftfy's fix_text(), then HTML entities decoded twice, white
// space joined, lower case. Of ftfy everything but the repair of text that was once decoded with the wrong encoding.

/** What Windows-1252 has where Unicode has the control characters U+0080 to U+009F. */
const windows1252 = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';

const replacements: readonly [pattern: RegExp, replacement: string | ((found: string) => string)][] = [
  [/[\x80-\x9f]/g, (found) => windows1252[found.charCodeAt(0) - 0x80] as string],
  [/ﬅ/g, 'ſt'],
  [/[ĲĳŉǱ-ǳǄ-ǌﬀ-ﬆ]/g, (ligature) => ligature.normalize('NFKC')],
  [/\u3000/g, ' '],
  [/[\uff01-\uffef]/g, (fullOrHalfWidth) => fullOrHalfWidth.normalize('NFKC')],
  [/[\u02bc\u2018-\u201b]/g, "'"],
  [/[\u201c-\u201f]/g, '"'],
  [/\r\n|[\r\u2028\u2029\x85]/g, '\n'],
  [/\p{Surrogate}/gu, '\ufffd'],
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours of terminals
  [/\x1b\[[\d;]*[a-zA-Z]/g, ''],
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what is not meant to be there
  [/[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/g, ''],
];

/** @internal */
export function cleanText(text: string): string {
  const fixed = fixLines(text);
  return decodeHTML(decodeHTML(fixed)).trim().split(/\s+/).join(' ').toLowerCase();
}

/** Line by line; from the first line with a "<" on, entities are not touched: there may be HTML, which means them. */
function fixLines(text: string): string {
  let hasTags = false;
  return text
    .split(/(?<=\n)/)
    .map((line) => {
      hasTags ||= line.includes('<');
      return fixLine(line, !hasTags);
    })
    .join('');
}

/** "&EACUTE;", which is not HTML, but meant as the capital. */
function decodeCapitals(entity: string): string {
  if (decodeHTML(entity) !== entity) return entity;
  const small = entity.toLowerCase();
  const decoded = decodeHTMLStrict(small);
  return decoded === small ? entity : decoded.toUpperCase();
}

/** Until nothing changes any more: one repair may show what another is for. */
function fixLine(line: string, decodeEntities: boolean): string {
  let before: string;
  let fixed = line;
  do {
    before = fixed;
    if (decodeEntities) fixed = decodeHTMLStrict(fixed.replace(/&[A-Z0-9]+;/g, decodeCapitals));
    for (const [pattern, replacement] of replacements) {
      fixed = fixed.replace(pattern, replacement as string);
    }
    fixed = fixed.normalize('NFC');
  } while (fixed !== before);
  return fixed;
}
