import { Refusal, type Client, type Fetching, type Options } from '../api/client';
import type { Answer, Example, Explanation, PictureInfo } from '../api/types';
import type { PageFacts } from './facts';
import { warnOfFrames } from './frames';
import { keep } from './keep';
import type { Look, Painted, Question, Reply } from './messages';

const base = new URL('./', document.baseURI).href;
const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });

interface Waiting {
  done: (value: unknown) => void;
  refuse: (error: unknown) => void;
}

const waiting = new Map<number, Waiting>();
let count = 0;
let fetching: Fetching = { share: 0, ready: false, kept: false, error: null };
const followers = new Set<() => void>();

function tell(next: Partial<Fetching>): void {
  fetching = { ...fetching, ...next };
  for (const each of followers) each();
}

worker.addEventListener('message', ({ data }: MessageEvent<Reply>) => {
  if (data.kind === 'share') {
    tell({ share: data.share });
    return;
  }
  const held = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.kind === 'done') held?.done(data.value);
  else held?.refuse(new Refusal(data.fault, data.detail));
});
worker.addEventListener('error', () => {
  const problem = new Refusal('not-started');
  tell({ error: problem });
  for (const { refuse } of waiting.values()) refuse(problem);
  waiting.clear();
});

type Asked = Question extends infer Each ? (Each extends Question ? Omit<Each, 'id'> : never) : never;

/** Ask the worker; whoever aborts is answered at once, and the worker stops at its next step. */
function ask(question: Asked, signal?: AbortSignal): Promise<unknown> {
  const id = (count += 1);
  return new Promise((done, refuse) => {
    waiting.set(id, { done, refuse });
    worker.postMessage({ ...question, id });
    signal?.addEventListener('abort', () => {
      worker.postMessage({ kind: 'cancel', id });
      refuse(new DOMException('', 'AbortError'));
    });
  });
}

const facts: Promise<PageFacts> = fetchFacts();

async function fetchFacts(): Promise<PageFacts> {
  const read = (await (await reach('model.json')).json()) as PageFacts;
  ask({ kind: 'load', facts: read, base }).then(
    () => {
      tell({ share: 1, ready: true });
      void examples.catch(() => undefined).then(() => keep(base)).then((kept) => {
        tell({ kept });
      });
    },
    (error: unknown) => {
      tell({ error });
    },
  );
  return read;
}

/** Fetch a file of the page's folder. */
async function reach(path: string): Promise<Response> {
  const response = await fetch(new URL(path, base)).catch(() => null);
  if (response?.ok) return response;
  throw new Refusal('unfetched', path);
}

const fetched = new Map<string, Blob>();

/** Examples, whose pictures are fetched with the page, so that it needs no network later. */
async function fetchExamples(): Promise<Example[]> {
  const { examples } = await facts;
  return Promise.all(
    examples.map(async (example) => {
      const pictures = await Promise.all(
        Object.entries(example.pictures).map(async ([modality, path]) => {
          const blob = await (await reach(path)).blob();
          const url = URL.createObjectURL(blob);
          fetched.set(url, blob);
          return [modality, url] as const;
        }),
      );
      return { ...example, pictures: Object.fromEntries(pictures) };
    }),
  );
}

const examples = fetchExamples();
examples.catch(() => undefined); // told where they are shown

function picturesOf(form: FormData): Record<string, File> {
  const files: Record<string, File> = {};
  for (const [name, value] of form) if (value instanceof File) files[name] = value;
  return files;
}

/** The page itself, which sends nothing anywhere. */
export const server: Client = {
  fetching: {
    follow: (onChange) => {
      followers.add(onChange);
      return () => followers.delete(onChange);
    },
    now: () => fetching,
  },
  links: { facts: 'facts.html', report: 'report.html', api: '' },
  session: () => Promise.resolve({ needed: false, open: true }),
  open: () => Promise.resolve(),
  models: async () => [(await facts).model],
  cohort: async () => (await facts).cohort,
  examples: () => examples,
  picture: async (file, options?: Options): Promise<PictureInfo> => {
    const { model } = await facts;
    const { modality: guess, width, height, frames } = (await ask({ kind: 'picture', file }, options?.signal)) as Look;
    const modality = model.modalities.includes(guess) ? guess : null;
    return { modality, width, height, preview: URL.createObjectURL(file), ...warnOfFrames('picture', frames) };
  },
  predict: async (form, options) => (await ask({ kind: 'predict', pictures: picturesOf(form) }, options?.signal)) as Answer,
  explain: async (form, options): Promise<Explanation> => {
    const { model } = await facts;
    const painted = (await ask({ kind: 'explain', pictures: picturesOf(form) }, options?.signal)) as Painted;
    const method = model.methods[0]?.name ?? '';
    return {
      target: painted.target,
      methods: model.methods,
      pictures: byName(painted.pictures, (blob) => URL.createObjectURL(blob)),
      maps: byName(painted.maps, (blob) => ({ [method]: URL.createObjectURL(blob) })),
    };
  },
  file: (url, name) => Promise.resolve(new File([fetched.get(url) ?? ''], name, { type: 'image/png' })),
};

function byName<T>(blobs: Record<string, Blob>, make: (blob: Blob) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(blobs).map(([name, blob]) => [name, make(blob)]));
}
