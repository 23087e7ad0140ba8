import { FIRST_FRAME } from '../words/en';
import type { Cautions } from '../parts/caution';

const PNG_HEAD = 8;
const RIFF_HEAD = 12;
const GIF_HEAD = 13;
const GIF_IMAGE = 0x2c;
const GIF_EXTENSION = 0x21;

/** Count the frames of a GIF, PNG or WebP file by its own structure, as `fusionln` does; 1 of any other. */
export function countFrames(bytes: Uint8Array): number {
  const text = textOf(bytes);
  if (text(0, 4) === 'GIF8') return countGif(bytes);
  if (text(1, 4) === 'PNG') return countPng(bytes);
  if (text(0, 4) === 'RIFF' && text(8, 12) === 'WEBP') return countWebp(bytes);
  return 1;
}

/** Warn of frames that nobody looks at, as a server does. */
export function warnOfFrames(name: string, frames: number): Cautions {
  if (frames === 1) return { warnings: [], warning_codes: [] };
  return { warnings: [FIRST_FRAME(name, frames)], warning_codes: ['first-frame'] };
}

function textOf(bytes: Uint8Array): (from: number, to: number) => string {
  return (from, to) => String.fromCharCode(...bytes.subarray(from, to));
}

function numbersOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Frames that the animation announces, and the picture before it where that is none of them. */
function countPng(bytes: Uint8Array): number {
  const [text, numbers] = [textOf(bytes), numbersOf(bytes)];
  let frames = 0;
  for (let at = PNG_HEAD; at + 12 <= bytes.length; at += 12 + numbers.getUint32(at)) {
    const chunk = text(at + 4, at + 8);
    if (chunk === 'acTL') frames = numbers.getUint32(at + 8);
    if (chunk === 'fcTL') return Math.max(1, frames);
    if (chunk === 'IDAT') return frames + 1;
  }
  return 1;
}

function countWebp(bytes: Uint8Array): number {
  const [text, numbers] = [textOf(bytes), numbersOf(bytes)];
  let frames = 0;
  for (let at = RIFF_HEAD; at + 8 <= bytes.length; ) {
    if (text(at, at + 4) === 'ANMF') frames += 1;
    const size = numbers.getUint32(at + 4, true);
    at += 8 + size + (size % 2);
  }
  return Math.max(1, frames);
}

function countGif(bytes: Uint8Array): number {
  const colours = (flags: number): number => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  let at = GIF_HEAD + colours(bytes[10] ?? 0);
  let frames = 0;
  while (at < bytes.length) {
    if (bytes[at] === GIF_IMAGE) {
      frames += 1;
      at += 11 + colours(bytes[at + 9] ?? 0);
    } else if (bytes[at] === GIF_EXTENSION) at += 2;
    else break;
    for (let size = bytes[at] ?? 0; size > 0; size = bytes[at] ?? 0) at += size + 1;
    at += 1;
  }
  return Math.max(1, frames);
}
