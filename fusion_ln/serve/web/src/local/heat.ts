/** Maps as pictures: the smoothing, the scale and the colours of the server's. */

const SMOOTH = 1 / 36; // of a picture's side: standard deviation of the blur
const BRIGHTEST = 0.995; // quantile of a patient's maps that gets the full colour

/** Enlarge a map of rows x columns to a square, by bilinear interpolation between the centres of its cells. */
export function enlarge(map: Float64Array, rows: number, columns: number, side: number): Float64Array {
  const large = new Float64Array(side * side);
  for (let y = 0; y < side; y += 1) {
    const [top, low, down] = between(y, rows, side);
    for (let x = 0; x < side; x += 1) {
      const [left, right, along] = between(x, columns, side);
      const at = (row: number, column: number): number => map[row * columns + column] ?? 0;
      const upper = at(top, left) * (1 - along) + at(top, right) * along;
      const lower = at(low, left) * (1 - along) + at(low, right) * along;
      large[y * side + x] = upper * (1 - down) + lower * down;
    }
  }
  return large;
}

function between(place: number, cells: number, side: number): [number, number, number] {
  const centre = Math.max(0, ((place + 0.5) * cells) / side - 0.5);
  const first = Math.min(cells - 1, Math.floor(centre));
  return [first, Math.min(cells - 1, first + 1), centre - first];
}

/** Blur the positive part of a square map over neighbouring pixels, mirrored at the edges. */
export function smooth(map: Float64Array, side: number): Float64Array {
  const sigma = SMOOTH * side;
  const reach = Math.trunc(4 * sigma + 0.5);
  const weights = Array.from({ length: 2 * reach + 1 }, (_, n) => Math.exp(-((n - reach) ** 2) / (2 * sigma ** 2)));
  const total = weights.reduce((sum, each) => sum + each, 0);
  const mirror = (n: number): number => {
    const m = ((n % (2 * side)) + 2 * side) % (2 * side);
    return m < side ? m : 2 * side - 1 - m;
  };
  const blur = (from: Float64Array, step: number, line: number): Float64Array => {
    const to = new Float64Array(from.length);
    for (let a = 0; a < side; a += 1) {
      for (let b = 0; b < side; b += 1) {
        let sum = 0;
        weights.forEach((weight, n) => {
          sum += weight * (from[a * line + mirror(b + n - reach) * step] ?? 0);
        });
        to[a * line + b * step] = sum / total;
      }
    }
    return to;
  };
  const positive = map.map((each) => Math.max(0, each));
  return blur(blur(positive, side, 1), 1, side);
}

/** Value that gets the full colour in all maps of a patient. */
export function scaleOf(maps: Float64Array[]): number {
  const values = Float64Array.from(maps.flatMap((map) => [...map])).sort();
  const place = BRIGHTEST * (values.length - 1);
  const below = values[Math.floor(place)] ?? 0;
  return below + (place - Math.floor(place)) * ((values[Math.ceil(place)] ?? 0) - below);
}

/** Paint a map to be laid over its picture: the more opaque the higher. Red, green, blue, alpha of each pixel. */
export function paint(map: Float64Array, scale: number, colours: string[]): Uint8ClampedArray<ArrayBuffer> {
  const rgba = new Uint8ClampedArray(4 * map.length);
  map.forEach((value, n) => {
    const level = scale > 0 ? Math.min(1, Math.max(0, value / scale)) : 0;
    const colour = parseInt((colours[Math.round(level * (colours.length - 1))] ?? '#000000').slice(1), 16);
    rgba.set([colour >> 16, (colour >> 8) & 255, colour & 255, 255 * Math.sqrt(level)], 4 * n);
  });
  return rgba;
}
