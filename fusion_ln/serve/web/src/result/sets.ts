import type { Answer } from '../api/types';
import type { Words } from '../words/en';

/** "A", "A and B", "A, B and C" in the reader's language. */
export function join(names: string[], words: Words): string {
  const last = names.at(-1) ?? '';
  const before = names.slice(0, -1).join(words.list);
  const gap = words.list === ', ' ? ' ' : '';
  return before ? `${before}${gap}${words.and}${gap}${last}` : last;
}

/** The set of classes as a sentence. */
export function describeSet(set: string[], classes: string[], title: (name: string) => string, words: Words): string {
  const names = classes.filter((name) => set.includes(name)).map(title);
  const [only] = names;
  if (only === undefined) return words.result.none;
  if (names.length === 1) return words.result.only(only);
  return names.length === classes.length ? words.result.all : words.result.several(join(names, words));
}

/** Class with the highest probability; the first of several. */
export function likeliest(probabilities: Record<string, number>): string {
  return Object.entries(probabilities).reduce((best, each) => (each[1] > best[1] ? each : best), ['', -1])[0];
}

/** Probability of the likeliest class before any picture is seen: what the pictures' parts add up from. */
export function startOf(answer: Answer): { name: string; start: number; end: number } {
  const name = likeliest(answer.probabilities);
  const end = answer.probabilities[name] ?? 0;
  const added = Object.values(answer.contributions).reduce((sum, part) => sum + part, 0);
  return { name, start: Math.min(1, Math.max(0, end - added)), end };
}
