import type { MapTests, Method } from '../api/types';
import type { Words } from '../words/en';

/** Say which maps the tests of the study trust most, or why none of those that are offered. */
export function sayTrust(tests: MapTests | null, offered: Method[], words: Words, points: (difference: number) => string): string {
  const w = words.trust;
  if (!tests) return w.untested;
  const figures = w.figures(tests.title, points(tests.gain), points(tests.random), tests.patients);
  if (tests.gain <= tests.random) return w.none + figures;
  return (offered.some((each) => each.name === tests.method) ? w.most(tests.title) : w.elsewhere(tests.title)) + figures;
}
