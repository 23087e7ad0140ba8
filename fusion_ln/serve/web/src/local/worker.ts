import { Refusal } from '../api/client';
import type { Answer } from '../api/types';
import { assemble, coalitions, largest } from './answer';
import { guessModality } from './colours';
import { decode } from './decode';
import { encodeAll, gradCam, occlusion, type Squares } from './explain';
import type { PageFacts } from './facts';
import { countFrames, warnOfFrames } from './frames';
import { paint, scaleOf, smooth } from './heat';
import type { Look, Painted, Question, Reply } from './messages';
import { ENGINE, Network } from './network';
import { prepare } from './prepare';

const send = (reply: Reply): void => {
  self.postMessage(reply);
};

let network: Promise<Network> | null = null;
let last: Promise<unknown> = Promise.resolve(); // the model does one thing at a time
const cancelled = new Set<number>();

self.addEventListener('message', ({ data }: MessageEvent<Question>) => {
  if (data.kind === 'cancel') {
    cancelled.add(data.id);
    return;
  }
  const work = data.kind === 'picture' ? look(data.file) : (last = last.catch(() => undefined).then(() => answer(data)));
  work.then(
    (value) => {
      send({ id: data.id, kind: 'done', value });
    },
    (error: unknown) => {
      const { fault, detail } = error instanceof Refusal ? error : unable(error);
      send({ id: data.id, kind: 'refused', fault, detail });
    },
  );
});

/** Describe a failure of the browser, or of ours. */
function unable(error: unknown): Refusal {
  return new Refusal('not-run', error instanceof Error ? error.message : String(error));
}

async function look(file: File): Promise<Look> {
  const pixels = await decode(file);
  const frames = await framesOf(file);
  return { modality: guessModality(pixels), width: pixels.width, height: pixels.height, frames };
}

async function framesOf(file: File): Promise<number> {
  return countFrames(new Uint8Array(await file.arrayBuffer()));
}

async function answer(question: Exclude<Question, { kind: 'picture' | 'cancel' }>): Promise<unknown> {
  if (cancelled.delete(question.id)) throw new DOMException('', 'AbortError');
  if (question.kind === 'load') return load(question.id, question.facts, question.base);
  if (network === null) throw new Error('no model');
  const ready = await network;
  const squares = await prepareAll(ready, question.pictures);
  return question.kind === 'predict' ? predict(ready, squares, question.pictures) : explain(ready, squares, question.id);
}

async function load(id: number, facts: PageFacts, base: string): Promise<null> {
  network = Network.fetch(facts, base, (share) => {
    send({ id, kind: 'share', share });
  });
  await network;
  return null;
}

async function prepareAll({ facts, modalities }: Network, pictures: Record<string, File>): Promise<Squares> {
  const squares: Squares = new Map();
  for (const [place, modality] of modalities.entries()) {
    const file = pictures[modality];
    if (file) squares.set(place, prepare(await decode(file), facts.sides[modality] ?? 0));
  }
  if (squares.size === 0) throw new Refusal('no-picture', modalities.join(', '));
  return squares;
}

async function predict(ready: Network, squares: Squares, pictures: Record<string, File>): Promise<Answer> {
  const present = [...squares.keys()];
  const readings = await ready.read(await encodeAll(ready, squares), coalitions(present));
  const answer = assemble(ready.facts, present, readings, ENGINE);
  const given = ready.modalities.flatMap((name) => (pictures[name] ? [{ name, file: pictures[name] }] : []));
  const found = await Promise.all(given.map(async ({ name, file }) => warnOfFrames(name, await framesOf(file))));
  return {
    ...answer,
    warnings: [...answer.warnings, ...found.flatMap((each) => each.warnings)],
    warning_codes: [...answer.warning_codes, ...found.flatMap((each) => each.warning_codes)],
  };
}

async function explain(ready: Network, squares: Squares, id: number): Promise<Painted> {
  const { facts, modalities } = ready;
  const breathe = async (): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve)); // lets a cancellation come in
    if (cancelled.delete(id)) throw new DOMException('', 'AbortError');
  };
  const [all] = await ready.read(await encodeAll(ready, squares), [[...squares.keys()]]);
  const target = largest(all?.probabilities ?? []);
  const attribute = facts.model.methods[0]?.name === 'gradcam' ? gradCam : occlusion;
  const found = await attribute(ready, squares, target, breathe);
  const side = (place: number): number => facts.sides[modalities[place] ?? ''] ?? 0;
  const heat = new Map([...found].map(([place, map]) => [place, smooth(map, side(place))]));
  const scale = scaleOf([...heat.values()]);
  const painted: Painted = { target: facts.model.classes[target] ?? '', pictures: {}, maps: {} };
  for (const [place, square] of squares) {
    const name = modalities[place] ?? '';
    painted.pictures[name] = await encode(opaque(square), side(place));
    painted.maps[name] = await encode(paint(heat.get(place) ?? new Float64Array(), scale, facts.colours), side(place));
  }
  return painted;
}

function opaque(square: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
  const rgba = new Uint8ClampedArray((square.length / 3) * 4).fill(255);
  for (let from = 0, to = 0; from < square.length; from += 3, to += 4) rgba.set(square.subarray(from, from + 3), to);
  return rgba;
}

async function encode(rgba: Uint8ClampedArray<ArrayBuffer>, side: number): Promise<Blob> {
  const canvas = new OffscreenCanvas(side, side);
  canvas.getContext('2d')?.putImageData(new ImageData(rgba, side, side), 0, 0);
  return canvas.convertToBlob();
}
