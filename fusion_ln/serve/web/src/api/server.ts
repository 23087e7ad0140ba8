import { Problem, reportLocked, type Client, type Options } from './client';

const BASE = '/api/v1';
const SESSION = `${BASE}/session`;
const LONGEST_WAIT = 60; // seconds that a server may ask us to wait

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
  return new Problem(response.status, text('detail') || text('title') || response.statusText, text('way_out'), text('fault'));
}

function pause(seconds: number, signal?: AbortSignal): Promise<void> {
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
    if (response.status === 401 && path !== SESSION) reportLocked(); // there, a wrong token is refused
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

/** The server that the page came from. */
export const server: Client = {
  fetching: null,
  links: { facts: '/facts', report: '/report', api: '/api/docs' },
  session: () => get('/session'),
  open: async (token) => {
    await post('/session', JSON.stringify({ token }));
  },
  models: () => get('/models'),
  cohort: () => get('/cohort'),
  examples: () => get('/examples'),
  picture: (file, options) => {
    const form = new FormData();
    form.append('picture', file);
    return postForm('/pictures', form, options);
  },
  predict: (form, options) => postForm('/predict', form, options),
  explain: (form, options) => postForm('/explain', form, options),
  file: async (url, name) => {
    const blob = await (await ask(url, {})).blob();
    return new File([blob], name, { type: blob.type });
  },
};
