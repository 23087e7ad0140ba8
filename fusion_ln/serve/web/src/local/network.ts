import * as ort from 'onnxruntime-web/wasm';
import runtime from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url';
import type { Reading } from './answer';
import { bodyName, type PageFacts } from './facts';

ort.env.wasm.wasmPaths = { wasm: new URL(runtime, self.location.href).href };
ort.env.wasm.numThreads = 1; // more need headers that a plain web space does not send

/** What computes here. */
export const ENGINE = { name: 'onnxruntime-web', version: ort.env.versions.web ?? '' };

/** Maps of B patients by body. */
export type Maps = Record<string, { data: Float32Array; patients: number }>;

/** A coarse map over a picture. */
export interface Cam {
  values: Float64Array;
  rows: number;
  columns: number;
}

/** The model's parts, each an ONNX graph that runs in this browser. */
export class Network {
  readonly modalities: string[];

  private constructor(
    readonly facts: PageFacts,
    private readonly bodies: Record<string, ort.InferenceSession>,
    private readonly tail: ort.InferenceSession,
    private readonly gradients: ort.InferenceSession | null,
  ) {
    this.modalities = Object.keys(facts.sides);
  }

  /** Fetch the parts, telling the share of them that is there. */
  static async fetch(facts: PageFacts, base: string, tell: (share: number) => void): Promise<Network> {
    let bytes = 0;
    const open = async (name: string): Promise<ort.InferenceSession> => {
      const data = await read(new URL(`${facts.folder}/${name}.onnx`, base), (more) => {
        bytes += more;
        tell(bytes / facts.bytes);
      });
      return ort.InferenceSession.create(data, { executionProviders: ['wasm'] });
    };
    const bodies: Record<string, ort.InferenceSession> = {};
    for (const name of Object.keys(facts.shapes)) bodies[name] = await open(name);
    const tail = await open('tail');
    return new Network(facts, bodies, tail, facts.model.methods[0]?.name === 'gradcam' ? await open('gradients') : null);
  }

  /** Maps of B pictures of the modality at a place, each prepared: by every model's body. */
  async encode(modality: number, pictures: Uint8Array[]): Promise<Maps> {
    const side = this.facts.sides[this.modalities[modality] ?? ''] ?? 0;
    const all = new Uint8Array(pictures.length * 3 * side * side);
    pictures.forEach((picture, n) => {
      all.set(picture, n * picture.length);
    });
    const maps: Maps = {};
    for (let fold = 0; fold < this.facts.folds; fold += 1) {
      const name = bodyName(modality, fold);
      const { maps: found } = await session(this.bodies, name).run({
        pictures: new ort.Tensor('uint8', all, [pictures.length, side, side, 3]),
      });
      maps[name] = { data: (await found?.getData()) as Float32Array, patients: pictures.length };
    }
    return maps;
  }

  /** Ask the tail about B patients with these modalities each; maps of one patient serve for all, missing ones are zero. */
  async read(maps: Maps, present: number[][]): Promise<Reading[]> {
    const found = await this.tail.run(this.feed(maps, present));
    const rows = (output: string, width: number): number[][] => {
      const data = found[output]?.data as Float32Array;
      return Array.from({ length: data.length / width }, (_, row) => [...data.subarray(row * width, (row + 1) * width)]);
    };
    const classes = this.facts.model.classes.length;
    const [m, k] = [this.modalities.length, this.facts.folds];
    const probabilities = rows('probabilities', classes);
    const pValues = rows('p_values', classes);
    const alone = rows('alone', classes);
    const unlike = rows('unlike', m);
    const logits = rows('logits', classes);
    return present.map((_, row) => ({
      probabilities: probabilities[row] ?? [],
      pValues: pValues[row] ?? [],
      alone: alone.slice(row * m, (row + 1) * m),
      unlike: unlike[row] ?? [],
      logits: logits.slice(row * k, (row + 1) * k),
    }));
  }

  /** Inputs of the tail, and of the gradients. */
  private feed(maps: Maps, present: number[][]): Record<string, ort.Tensor> {
    const n = present.length;
    const mask = new Uint8Array(n * this.modalities.length);
    present.forEach((places, row) => {
      for (const place of places) mask[row * this.modalities.length + place] = 1;
    });
    const feeds: Record<string, ort.Tensor> = { present: new ort.Tensor('bool', mask, [n, this.modalities.length]) };
    for (const [name, shape] of Object.entries(this.facts.shapes)) {
      const length = shape.reduce((product, each) => product * each, 1);
      feeds[name] = new ort.Tensor('float32', spread(maps[name]?.data, n, length), [n, ...shape]);
    }
    return feeds;
  }

  /** Maps of Grad-CAM of a patient with these modalities, by place; null where the model has none. */
  async cams(maps: Maps, present: number[], target: number): Promise<Map<number, Cam> | null> {
    if (this.gradients === null) return null;
    const marks = Float32Array.from(this.facts.model.classes, (_, place) => (place === target ? 1 : 0));
    const feeds = { ...this.feed(maps, [present]), target: new ort.Tensor('float32', marks, [1, marks.length]) };
    const found = await this.gradients.run(feeds);
    return new Map(
      present.map((place) => {
        const cam = found[`cam-${place}`];
        const [, rows = 0, columns = 0] = cam?.dims ?? [];
        return [place, { values: Float64Array.from(cam?.data as Float32Array), rows, columns }];
      }),
    );
  }
}

function session(bodies: Record<string, ort.InferenceSession>, name: string): ort.InferenceSession {
  const found = bodies[name];
  if (!found) throw new Error(`${name} is missing`);
  return found;
}

function spread(data: Float32Array | undefined, n: number, length: number): Float32Array {
  if (data?.length === n * length) return data;
  const all = new Float32Array(n * length);
  if (data) for (let row = 0; row < n; row += 1) all.set(data, row * length);
  return all;
}

/** Read a file of this folder, telling how many bytes came. */
async function read(url: URL, tell: (more: number) => void): Promise<Uint8Array> {
  const response = await fetch(url);
  if (!response.ok || !response.body) throw new Error(`${url.pathname}: ${response.status} ${response.statusText}`);
  const parts: Uint8Array[] = [];
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    tell(value.length);
  }
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}
