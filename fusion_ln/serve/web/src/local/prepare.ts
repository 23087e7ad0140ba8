import type { Pixels } from './facts';

/**
 * Pillow's bicubic resize in its own whole numbers, so that a network sees here what it saw in training.
 * The width comes first.
 */

const PRECISION = 22; // bits of a weight
const SUPPORT = 2; // pixels on either side that bicubic interpolation reads

/** A picture in a square of S pixels a side with its proportions kept, black beside it: as `prepare_picture` makes it. */
export function prepare(picture: Pixels, side: number): Uint8Array {
  const { width, height } = picture;
  const rows = width > height ? roundEven((height / width) * side) : side;
  const columns = height > width ? roundEven((width / height) * side) : side;
  const square = new Uint8Array(side * side * 3);
  if (rows === 0 || columns === 0) return square;
  const small = resize(picture, columns, rows);
  const left = roundEven((side - small.width) / 2);
  const top = roundEven((side - small.height) / 2);
  for (let row = 0; row < small.height; row += 1) {
    const line = small.rgb.subarray(3 * row * small.width, 3 * (row + 1) * small.width);
    square.set(line, 3 * ((top + row) * side + left));
  }
  return square;
}

/** Round as Python does: halves to the even neighbour. */
function roundEven(value: number): number {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

function resize(picture: Pixels, width: number, height: number): Pixels {
  const across = width === picture.width ? picture : resizeRows(picture, width);
  if (height === across.height) return across;
  return turn(resizeRows(turn(across), height));
}

/** Swap rows and columns. */
function turn({ width, height, rgb }: Pixels): Pixels {
  const turned = new Uint8Array(rgb.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const from = 3 * (y * width + x);
      const to = 3 * (x * height + y);
      turned[to] = rgb[from] ?? 0;
      turned[to + 1] = rgb[from + 1] ?? 0;
      turned[to + 2] = rgb[from + 2] ?? 0;
    }
  }
  return { width: height, height: width, rgb: turned };
}

/** Resize every row to `kept` pixels. */
function resizeRows({ width, height, rgb }: Pixels, kept: number): Pixels {
  const resized = new Uint8Array(3 * kept * height);
  for (let x = 0; x < kept; x += 1) {
    const { start, weights } = weigh(width, kept, x);
    for (let y = 0; y < height; y += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        let sum = 2 ** (PRECISION - 1);
        let from = 3 * (y * width + start) + channel;
        for (const weight of weights) {
          sum += weight * (rgb[from] ?? 0);
          from += 3;
        }
        resized[3 * (y * kept + x) + channel] = Math.min(255, Math.max(0, Math.floor(sum / 2 ** PRECISION)));
      }
    }
  }
  return { width: kept, height, rgb: resized };
}

/** Weights of the pixels that the pixel at a place is made of, and the first of them. */
function weigh(size: number, kept: number, place: number): { start: number; weights: number[] } {
  const scale = size / kept;
  const stretch = Math.max(1, scale);
  const reach = SUPPORT * stretch;
  const centre = (place + 0.5) * scale;
  const start = Math.max(0, Math.trunc(centre - reach + 0.5));
  const end = Math.min(size, Math.trunc(centre + reach + 0.5));
  const weights: number[] = [];
  for (let pixel = start; pixel < end; pixel += 1) weights.push(bicubic((pixel - centre + 0.5) * (1 / stretch)));
  const total = weights.reduce((sum, each) => sum + each, 0);
  return { start, weights: weights.map((each) => roundAway((each / total) * 2 ** PRECISION)) };
}

/** Keys 1981, a = -0.5. */
function bicubic(away: number): number {
  const x = Math.abs(away);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

function roundAway(value: number): number {
  return value < 0 ? Math.trunc(value - 0.5) : Math.trunc(value + 0.5);
}
