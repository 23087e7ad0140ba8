import type { Answer, CohortSummary, Example, Explanation, Model, PictureInfo, Session } from './types';

const BASE = '/api/v1';
const SESSION = `${BASE}/session`;
const LONGEST_WAIT = 60; // seconds that a server may ask us to wait

/** Refusal of the server, with its way out. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly wayOut: string,
  ) {
    super(detail);
  }
}

/** Whether the server wants its token first. */
export function isLocked(error: unknown): boolean {
  return error instanceof Problem && error.status === 401;
}

let tellLocked = (): void => undefined;

/** Call `tell` each time that the server wants its token first; returns what ends it. */
export function whenLocked(tell: () => void): () => void {
  tellLocked = tell;
  return () => {
    tellLocked = () => undefined;
  };
}

interface Options {
  signal?: AbortSignal | undefined;
  /** Told the seconds until a busy server is asked again. */
  onWait?: ((seconds: number) => void) | undefined;
  /** How often a busy server is asked in all. */
  tries?: number;
}

function csrf(): string {
  return document.querySelector<HTMLMetaElement>('meta[name="csrf-token"]')?.content ?? '';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

async function readProblem(response: Response): Promise<Problem> {
  const body: unknown = await response.json().catch(() => null);
  const text = (key: string): string => {
    const held = isRecord(body) ? body[key] : undefined;
    return typeof held === 'string' ? held : '';
  };
  return new Problem(response.status, text('detail') || text('title') || response.statusText, text('way_out'));
}

export function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(new DOMException('', 'AbortError'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, 1000 * seconds);
    signal?.addEventListener('abort', stop, { once: true });
  });
}

async function ask(path: string, init: RequestInit, options: Options = {}): Promise<Response> {
  const { signal, onWait, tries = 2 } = options;
  for (let left = tries - 1; ; left -= 1) {
    const response = await fetch(path, { ...init, signal: signal ?? null }).catch((error: unknown) => {
      if (signal?.aborted) throw error;
      throw new Problem(0, '', '');
    });
    if (response.ok) return response;
    if (response.status === 401 && path !== SESSION) tellLocked(); // there, a wrong token is refused
    const wait = Number(response.headers.get('Retry-After'));
    if (left <= 0 || !(wait > 0) || wait > LONGEST_WAIT) throw await readProblem(response);
    onWait?.(wait);
    await pause(wait, signal);
  }
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await ask(BASE + path, {}, { signal })).json()) as T;
}

function post(path: string, body: FormData | string, options?: Options): Promise<Response> {
  const headers: Record<string, string> = { 'X-CSRFToken': csrf() };
  if (typeof body === 'string') headers['Content-Type'] = 'application/json';
  return ask(BASE + path, { method: 'POST', body, headers }, options);
}

async function postForm<T>(path: string, form: FormData, options?: Options): Promise<T> {
  return (await (await post(path, form, options)).json()) as T;
}

/** Request about a patient: a file field per modality, and the clinical values that are known. */
export function patientForm(pictures: Record<string, File>, clinical: Record<string, string>): FormData {
  const form = new FormData();
  for (const [modality, file] of Object.entries(pictures)) form.append(modality, file);
  for (const [name, value] of Object.entries(clinical)) if (value.trim()) form.append(name, value.trim());
  return form;
}

export const server = {
  session: (): Promise<Session> => get('/session'),
  open: async (token: string): Promise<void> => {
    await post('/session', JSON.stringify({ token }));
  },
  models: (): Promise<Model[]> => get('/models'),
  cohort: (): Promise<CohortSummary> => get('/cohort'),
  examples: (): Promise<Example[]> => get('/examples'),
  picture: (file: File, options?: Options): Promise<PictureInfo> => {
    const form = new FormData();
    form.append('picture', file);
    return postForm('/pictures', form, options);
  },
  predict: (form: FormData, options?: Options): Promise<Answer> => postForm('/predict', form, options),
  explain: (form: FormData, options?: Options): Promise<Explanation> => postForm('/explain', form, options),
  file: async (url: string, name: string): Promise<File> => {
    const blob = await (await ask(url, {})).blob();
    return new File([blob], name, { type: blob.type });
  },
};
