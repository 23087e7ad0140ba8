import { Problem, Refusal } from '../api/client';
import type { Said, Words } from '../words/en';

/** Words for whatever went wrong; `original` holds what is not said in the reader's language. */
export interface SaidProblem extends Said {
  original: string;
}

/** Say what went wrong in the reader's language; a server's English follows where that is another. */
export function sayProblem(error: unknown, words: Words): SaidProblem {
  if (error instanceof Refusal) return { ...words.refusals[error.fault], original: error.detail };
  if (!(error instanceof Problem) || error.status === 0) {
    return { title: words.unreachable, way: words.unreachableWay, original: '' };
  }
  const { status, detail, wayOut, fault } = error;
  if (words.serverRefusals === null) return { title: detail, way: wayOut, original: '' };
  const known: Record<string, Said | undefined> = { ...words.serverRefusals, ...words.refusals };
  const said = known[fault] ?? known[status] ?? words.serverRefusals.other;
  return { ...said, original: `${detail} ${wayOut}`.trim() };
}

/** The same in one line. */
export function sayProblemInLine(error: unknown, words: Words): string {
  const { title, way, original } = sayProblem(error, words);
  return [title, way, original].filter(Boolean).join(' ');
}
