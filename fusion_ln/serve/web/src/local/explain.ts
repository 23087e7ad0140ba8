import { enlarge } from './heat';
import type { Maps, Network } from './network';

/** A picture, prepared, by the place of its modality. */
export type Squares = Map<number, Uint8Array>;

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

/** Grad-CAM maps (Selvaraju et al. 2017, eq. 1 and 2) by the place of each modality, in the mean over the models. */
export async function gradCam(
  network: Network,
  squares: Squares,
  target: number,
  breathe: Breathe,
): Promise<Map<number, Float64Array>> {
  const maps = await encodeAll(network, squares);
  await breathe();
  const cams = (await network.cams(maps, [...squares.keys()], target)) ?? [];
  const side = (place: number): number => network.facts.sides[network.modalities[place] ?? ''] ?? 0;
  return new Map([...cams].map(([place, { values, rows, columns }]) => [place, enlarge(values, rows, columns, side(place))]));
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
