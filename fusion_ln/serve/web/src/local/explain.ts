import { enlarge } from './heat';
import type { Maps, Network } from './network';

/** A picture, prepared, by the place of its modality. */
export type Squares = Map<number, Uint8Array>;

const CHANNELS = 32; // at once
const STEP = 0.05; // of a difference, in units of the planes' own size
const WINDOWS = 8; // along a side of the picture
const AT_ONCE = 8; // pictures

/** Called between two steps; throws when nobody waits for the maps any more. */
export type Breathe = () => Promise<void>;

/** Encode every picture of a patient. */
export async function encodeAll(network: Network, squares: Squares): Promise<Maps> {
  const maps: Maps = {};
  for (const [place, square] of squares) Object.assign(maps, await network.encode(place, [square]));
  return maps;
}

/**
 * Grad-CAM maps (Selvaraju et al. 2017, eq. 1 and 2) by the place of each modality, in the mean over the models.
 *
 * The gradient of the logit by a whole plane is its difference when the plane is raised and lowered: the tail is cheap.
 */
export async function gradCam(
  network: Network,
  squares: Squares,
  target: number,
  breathe: Breathe,
): Promise<Map<number, Float64Array>> {
  const { facts } = network;
  const maps = await encodeAll(network, squares);
  const present = [...squares.keys()];
  const found = new Map<number, Float64Array>();
  for (const place of present) {
    const side = facts.sides[network.modalities[place] ?? ''] ?? 0;
    const sum = new Float64Array(side * side);
    const names = Object.keys(facts.shapes).filter((name) => name.startsWith(`body-${place}-`));
    const [channels = 0, rows = 0, columns = 0] = facts.shapes[names[0] ?? ''] ?? [];
    const area = rows * columns;
    const cams = names.map(() => new Float64Array(area));
    const steps = names.map((name) => STEP * size(maps[name]?.data));
    for (let first = 0; first < channels; first += CHANNELS) {
      await breathe();
      const n = Math.min(CHANNELS, channels - first);
      const changed: Maps = { ...maps };
      names.forEach((name, fold) => {
        const step = steps[fold] ?? 0;
        changed[name] = { data: shiftPlanes(maps[name]?.data, first, n, area, step), patients: 2 * n };
      });
      const readings = await network.read(changed, Array<number[]>(2 * n).fill(present));
      names.forEach((name, fold) => {
        const planes = maps[name]?.data;
        const cam = cams[fold];
        const logit = (row: number): number => readings[row]?.logits[fold]?.[target] ?? 0;
        for (let c = 0; c < n; c += 1) {
          const weight = (logit(2 * c) - logit(2 * c + 1)) / (2 * (steps[fold] ?? 1) * area);
          for (let at = 0; at < area; at += 1) {
            if (cam) cam[at] = (cam[at] ?? 0) + weight * (planes?.[(first + c) * area + at] ?? 0);
          }
        }
      });
    }
    for (const cam of cams) {
      const large = enlarge(cam.map((each) => Math.max(0, each)), rows, columns, side);
      large.forEach((each, at) => {
        sum[at] = (sum[at] ?? 0) + each / names.length;
      });
    }
    found.set(place, sum);
  }
  return found;
}

/** Planes of one picture, twice for each of n channels: with this channel raised, and lowered, by a step. */
function shiftPlanes(data: Float32Array | undefined, first: number, n: number, area: number, step: number): Float32Array {
  const length = data?.length ?? 0;
  const all = new Float32Array(2 * n * length);
  for (let row = 0; row < 2 * n; row += 1) {
    if (data) all.set(data, row * length);
    const from = row * length + (first + (row >> 1)) * area;
    for (let at = from; at < from + area; at += 1) all[at] = (all[at] ?? 0) + (row % 2 === 0 ? step : -step);
  }
  return all;
}

/** Root mean square; never zero. */
function size(values: Float32Array | undefined): number {
  if (!values?.length) return 1;
  return Math.sqrt(values.reduce((sum, each) => sum + each * each, 0) / values.length) || 1;
}

/** Occlusion maps (Zeiler & Fergus 2014) by the place of each modality: fall of the logit while a square is black. */
export async function occlusion(
  network: Network,
  squares: Squares,
  target: number,
  breathe: Breathe,
): Promise<Map<number, Float64Array>> {
  const maps = await encodeAll(network, squares);
  const present = [...squares.keys()];
  const mean = (logits: number[][] = []): number =>
    logits.reduce((sum, each) => sum + (each[target] ?? 0), 0) / Math.max(1, logits.length);
  const [whole] = await network.read(maps, [present]);
  const found = new Map<number, Float64Array>();
  for (const [place, square] of squares) {
    const side = network.facts.sides[network.modalities[place] ?? ''] ?? 0;
    const window = Math.max(2, Math.round(side / WINDOWS));
    const corners = [];
    for (let y = 0; y < side; y += window) for (let x = 0; x < side; x += window) corners.push({ x, y });
    const map = new Float64Array(side * side);
    for (let first = 0; first < corners.length; first += AT_ONCE) {
      await breathe();
      const some = corners.slice(first, first + AT_ONCE);
      const changed = await network.encode(place, some.map((corner) => blacken(square, side, corner.x, corner.y, window)));
      const readings = await network.read({ ...maps, ...changed }, Array<number[]>(some.length).fill(present));
      some.forEach(({ x, y }, n) => {
        const fall = mean(whole?.logits) - mean(readings[n]?.logits);
        for (let row = y; row < Math.min(side, y + window); row += 1) {
          map.fill(fall, row * side + x, row * side + Math.min(side, x + window));
        }
      });
    }
    found.set(place, map);
  }
  return found;
}

function blacken(square: Uint8Array, side: number, x: number, y: number, window: number): Uint8Array {
  const changed = square.slice();
  for (let row = y; row < Math.min(side, y + window); row += 1) {
    changed.fill(0, 3 * (row * side + x), 3 * (row * side + Math.min(side, x + window)));
  }
  return changed;
}
