// Damages model files, TorchScript and exported programs, in ways that happen (a flipped bit, a cut copy) and in ways that someone thinks up.
import { readArchive, writeArchive } from './archive.mjs';

/** Numbers from 0 to below `limit`, the same for the same seed (mulberry32). */
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

const bytes = {
  flipBits(data, random) {
    for (let count = 1 + random(32); count > 0; count--) data[random(data.length)] ^= 1 << random(8);
    return data;
  },
  overwriteBytes(data, random) {
    const values = [0, 1, 0x7f, 0x80, 0xff];
    for (let count = 1 + random(16); count > 0; count--) data[random(data.length)] = values[random(5)];
    return data;
  },
  truncate: (data, random) => data.subarray(0, random(data.length)),
  removeRange(data, random) {
    const start = random(data.length);
    return Buffer.concat([data.subarray(0, start), data.subarray(start + random(data.length - start))]);
  },
  repeatRange(data, random) {
    const start = random(data.length);
    const end = start + random(Math.min(4096, data.length - start));
    return Buffer.concat([data.subarray(0, end), data.subarray(start)]);
  },
  zeroRange(data, random) {
    const start = random(data.length);
    return data.fill(0, start, start + random(Math.min(4096, data.length - start)));
  },
};

const oneOf = (list, random) => list[random(list.length)];
const anyBytes = (data, random) =>
  data.length === 0 ? data : oneOf(Object.values(bytes), random)(data, random);

/** Opcodes of the pickles that TorchScript writes and reads, and some that it does not. */
const opcodes = Buffer.from(
  '}](.0tabcdeghjlopqrsuJKMNGXQRI\x80\x81\x85\x86\x87\x88\x89\x8a\x94\x95',
  'latin1',
);

function mutatePickle(data, random) {
  for (let count = 1 + random(6); count > 0; count--) {
    const position = random(data.length);
    const choice = random(4);
    if (choice === 0) data[position] = oneOf(opcodes, random);
    else if (choice === 1) data[position] = random(256);
    else if (choice === 2) {
      const inserted = Buffer.from([oneOf(opcodes, random), random(256)]);
      data = Buffer.concat([data.subarray(0, position), inserted, data.subarray(position)]);
    } else data = Buffer.concat([data.subarray(0, position), data.subarray(position + 1 + random(4))]);
    if (data.length === 0) return data;
  }
  return data;
}

function mutateCode(data, random) {
  const lines = data.toString('utf8').split('\n');
  const words = lines.flatMap((line) => line.match(/[A-Za-z_][\w.]*|\d+(?:\.\d+)?/g) ?? []);
  for (let count = 1 + random(3); count > 0; count--) {
    const line = random(lines.length);
    const choice = random(5);
    if (choice === 0) lines.splice(line, 1);
    else if (choice === 1) lines.splice(line, 0, lines[random(lines.length)]);
    else if (choice === 2) lines[line] = '('.repeat(1 + random(3000)) + lines[line];
    else if (words.length > 0) {
      const replacement =
        choice === 3 ? oneOf(words, random) : String(oneOf([-1, 0, 2 ** 31, 2 ** 62, 1e30], random));
      lines[line] = (lines[line] ?? '').replace(/[A-Za-z_][\w.]*|\d+/, replacement);
    }
  }
  return Buffer.from(lines.join('\n'));
}

const numbers = [-1, 0, 1, 7, 2 ** 31, 2 ** 53, -(2 ** 53), 1e300, 0.5];

/** Places in a JSON value: of each the object or array, and the key there. */
function placesIn(value, places = []) {
  if (typeof value !== 'object' || value === null) return places;
  for (const key of Object.keys(value)) {
    places.push([value, key]);
    placesIn(value[key], places);
  }
  return places;
}

/** JSON that is deep, or that has as many values as its length allows: they take more memory than their text. */
function heavy(random) {
  const count = oneOf([100, 2000, 1_000_000], random);
  return oneOf(
    [
      `${'['.repeat(count)}${']'.repeat(count)}`,
      `[${'[],'.repeat(count)}0]`,
      `[${'{"a":1},'.repeat(count)}0]`,
    ],
    random,
  );
}

/** Texts stay texts and numbers numbers now and then, so that what is wrong is found late. */
function mutateJson(data, random) {
  let json;
  try {
    json = JSON.parse(data);
  } catch {
    return anyBytes(data, random);
  }
  for (let count = 1 + random(4); count > 0; count--) {
    const places = placesIn(json);
    if (places.length === 0) break;
    const [holder, key] = oneOf(places, random);
    const [otherHolder, otherKey] = oneOf(places, random);
    const value = holder[key];
    const choice = random(7);
    if (choice === 0) Array.isArray(holder) ? holder.splice(Number(key), 1) : delete holder[key];
    else if (choice === 1) holder[key] = structuredClone(otherHolder[otherKey]);
    else if (choice === 2 && Array.isArray(holder)) holder.splice(Number(key), 0, structuredClone(value));
    else if (choice === 3) return Buffer.from(JSON.stringify(json).replace('{', `{"more":${heavy(random)},`));
    else if (typeof value === 'number') holder[key] = oneOf(numbers, random);
    else if (typeof value === 'string') {
      const texts = places.map(([of, at]) => of[at]).filter((each) => typeof each === 'string');
      holder[key] = oneOf(
        [oneOf(texts, random), '', `${value}_`, value.slice(1), 'x'.repeat(10_000), 'a.'.repeat(200_000)],
        random,
      );
    } else holder[key] = oneOf([null, true, {}, [], 'text', 3], random);
  }
  return Buffer.from(JSON.stringify(json));
}

const isPickle = ({ name }) => name.endsWith('.pkl');
const isCode = ({ name }) => name.endsWith('.py');
const isJson = ({ name }) => name.endsWith('.json');

/** Changes of the archive's entries; what is written is a valid archive unless said otherwise. */
const entries = {
  pickle(list, random) {
    const entry = oneOf(list.filter(isPickle), random);
    entry.data = mutatePickle(entry.data, random);
  },
  code(list, random) {
    const entry = oneOf(list.filter(isCode), random);
    entry.data = mutateCode(entry.data, random);
  },
  program(list, random) {
    const entry = oneOf(list.filter(isJson), random);
    entry.data = mutateJson(entry.data, random);
  },
  content(list, random) {
    const entry = oneOf(list, random);
    entry.data = anyBytes(entry.data, random);
  },
  drop: (list, random) => list.splice(random(list.length), 1),
  rename(list, random) {
    const entry = oneOf(list, random);
    entry.name = oneOf(
      [oneOf(list, random).name, `${entry.name}\0`, '', '../x', entry.name.toUpperCase()],
      random,
    );
  },
  swap(list, random) {
    const [a, b] = [oneOf(list, random), oneOf(list, random)];
    [a.data, b.data] = [b.data, a.data];
  },
  empty(list, random) {
    oneOf(list, random).data = Buffer.alloc(0);
  },
  borrow(list, random, other) {
    const foreign = oneOf(other, random);
    const own = list.find(
      ({ name }) => name.split('/').slice(1).join('/') === foreign.name.split('/').slice(1).join('/'),
    );
    (own ?? oneOf(list, random)).data = Buffer.from(foreign.data);
  },
  lieAboutSize(list, random) {
    oneOf(list, random).claimedSize = oneOf([0, 1, 0x7fffffff, 0xffffffff, random(1 << 20)], random);
  },
  lieAboutOffset(list, random) {
    oneOf(list, random).claimedOffset = oneOf([0, 1, 0xffffffff, random(1 << 16)], random);
  },
};

const kindsOf = {
  torchscript: [...Object.keys(bytes), ...Object.keys(entries).filter((kind) => kind !== 'program')],
  // Most of all the program, of which there is most to be wrong.
  exported: [
    ...Object.keys(bytes),
    ...Object.keys(entries).filter((kind) => kind !== 'pickle' && kind !== 'code'),
    ...Array(15).fill('program'),
  ],
};

/** One damaged file: bytes of the whole, or entries of the archive. `other` is another valid file of the format. */
export function mutate(format, file, other, random) {
  const kind = oneOf(kindsOf[format], random);
  if (kind in bytes) return { kind, data: bytes[kind](Buffer.from(file), random) };
  const list = readArchive(file);
  entries[kind](list, random, readArchive(other));
  return { kind, data: writeArchive(list) };
}
