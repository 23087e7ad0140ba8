import type { OwnFault } from '../words/en';
import type { Answer, CohortSummary, Example, Explanation, Model, PictureInfo, Session } from './types';

/** Refusal of a server, in its own words, which are English, with its way out; of status 0: nobody answers. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly wayOut: string,
    /** Of a picture; empty for any other refusal. */
    readonly fault = '',
  ) {
    super(detail);
  }
}

/** Refusal of the page itself; the words for its fault are the reader's. */
export class Refusal extends Error {
  constructor(
    readonly fault: OwnFault,
    /** Numbers and names, which are of no language. */
    readonly detail = '',
  ) {
    super(`${fault} ${detail}`);
  }
}

/** Whether the server wants its token first. */
export function isLocked(error: unknown): boolean {
  return error instanceof Problem && error.status === 401;
}

/** Tell that the server wants its token first. */
export function reportLocked(): void {
  tellLocked();
}

let tellLocked = (): void => undefined;

/** Call `tell` each time that the server wants its token first; returns what ends it. */
export function whenLocked(tell: () => void): () => void {
  tellLocked = tell;
  return () => {
    tellLocked = () => undefined;
  };
}

export interface Options {
  signal?: AbortSignal | undefined;
  /** Told the seconds until a busy server is asked again. */
  onWait?: ((seconds: number) => void) | undefined;
  /** How often a busy server is asked in all. */
  tries?: number;
}

/** State of a model that this browser fetches. */
export interface Fetching {
  /** Share of its bytes that are there. */
  share: number;
  ready: boolean;
  /** Whether this browser keeps the page's files, so that it opens without network. */
  kept: boolean;
  error: unknown;
}

/** The one that answers the page's questions: a server, or the page itself. */
export interface Client {
  /** Of a page that answers by itself: its model on the way. */
  fetching: { follow: (onChange: () => void) => () => void; now: () => Fetching } | null;
  /** Addresses of further pages; empty where there is none. */
  links: { facts: string; report: string; api: string };
  session: () => Promise<Session>;
  open: (token: string) => Promise<void>;
  models: () => Promise<Model[]>;
  cohort: () => Promise<CohortSummary>;
  examples: () => Promise<Example[]>;
  picture: (file: File, options?: Options) => Promise<PictureInfo>;
  predict: (form: FormData, options?: Options) => Promise<Answer>;
  explain: (form: FormData, options?: Options) => Promise<Explanation>;
  file: (url: string, name: string) => Promise<File>;
}

/** Request about a patient: a file field per modality, and the clinical values that are known. */
export function patientForm(pictures: Record<string, File>, clinical: Record<string, string>): FormData {
  const form = new FormData();
  for (const [modality, file] of Object.entries(pictures)) form.append(modality, file);
  for (const [name, value] of Object.entries(clinical)) if (value.trim()) form.append(name, value.trim());
  return form;
}
