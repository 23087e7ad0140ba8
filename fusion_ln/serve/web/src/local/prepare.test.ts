import { expect, it } from 'vitest';
import { prepare } from './prepare';

// Width, height, side, and the checksum of what Pillow makes of the picture below (`prepare_picture`).
const BY_PILLOW: [number, number, number, number][] = [
  [64, 64, 32, 715064],
  [48, 64, 64, 891121],
  [64, 45, 32, 617427],
  [300, 40, 32, 300724],
  [500, 17, 64, 737685],
  [20, 24, 224, 377554],
  [700, 500, 96, 193182],
  [96, 96, 96, 370665],
  [95, 97, 48, 686562],
];

it.each(BY_PILLOW)('makes of %i x %i pixels the square of %i that Pillow makes', (width, height, side, expected) => {
  const rgb = Uint8Array.from({ length: 3 * width * height }, (_, n) => {
    const x = Math.floor(n / 3) % width;
    const y = Math.floor(n / 3 / width);
    return (37 * x + 101 * y + 53 * (n % 3) + x * y) % 256;
  });
  expect(prepare({ width, height, rgb }, side).reduce((sum, each) => (31 * sum + each) % 1_000_003, 0)).toBe(expected);
});
