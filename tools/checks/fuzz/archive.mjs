// Reads and writes zip archives as PyTorch makes them: entries stored without compression.
import { crc32 } from 'node:zlib';

const localHeader = 0x04034b50;
const centralHeader = 0x02014b50;
const endOfDirectory = 0x06054b50;

/** @returns {{ name: string, data: Buffer }[]} */
export function readArchive(file) {
  const end = file.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  const count = file.readUInt16LE(end + 10);
  let position = file.readUInt32LE(end + 16);
  const entries = [];
  for (let index = 0; index < count; index++) {
    const [size, nameLength, extraLength, commentLength, offset] = [
      file.readUInt32LE(position + 20),
      file.readUInt16LE(position + 28),
      file.readUInt16LE(position + 30),
      file.readUInt16LE(position + 32),
      file.readUInt32LE(position + 42),
    ];
    const name = file.toString('utf8', position + 46, position + 46 + nameLength);
    const start = offset + 30 + file.readUInt16LE(offset + 26) + file.readUInt16LE(offset + 28);
    entries.push({ name, data: Buffer.from(file.subarray(start, start + size)) });
    position += 46 + nameLength + extraLength + commentLength;
  }
  return entries;
}

/** `claimedSize` and `claimedOffset` of an entry replace what the directory should say. */
export function writeArchive(entries) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, data, claimedSize, claimedOffset, claimedCrc } of entries) {
    const nameBytes = Buffer.from(name);
    const crc = claimedCrc ?? crc32(data);
    const padding = (64 - ((offset + 30 + nameBytes.length + 4) % 64)) % 64;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(localHeader, 0);
    local.writeUInt32LE(crc, 14);
    local.writeUInt32LE(claimedSize ?? data.length, 18);
    local.writeUInt32LE(claimedSize ?? data.length, 22);
    local.writeUInt16LE(nameBytes.length, 26);
    local.writeUInt16LE(padding + 4, 28);
    const extra = Buffer.alloc(padding + 4, 'Z');
    extra.write('FB', 0);
    extra.writeUInt16LE(padding, 2);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(centralHeader, 0);
    central.writeUInt32LE(crc, 16);
    central.writeUInt32LE(claimedSize ?? data.length, 20);
    central.writeUInt32LE(claimedSize ?? data.length, 24);
    central.writeUInt16LE(nameBytes.length, 28);
    central.writeUInt32LE(claimedOffset ?? offset, 42);
    parts.push(local, nameBytes, extra, data);
    directory.push(central, nameBytes);
    offset += 30 + nameBytes.length + extra.length + data.length;
  }
  const directoryBytes = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(endOfDirectory, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(directoryBytes.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, directoryBytes, end]);
}
