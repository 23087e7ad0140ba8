import { Refusal } from '../api/client';
import type { Answer, Probabilities } from '../api/types';
import type { PageFacts } from './facts';

/** Output of the tail for one patient and some of the modalities. */
export interface Reading {
  probabilities: number[];
  pValues: number[];
  /** By modality. */
  alone: number[][];
  unlike: number[];
  /** By model. */
  logits: number[][];
}

const TIE = 1e-6; // the graph's p-values are single precision

/** Every subset of some modalities, none first and all last. */
export function coalitions(present: number[]): number[][] {
  return Array.from({ length: 2 ** present.length }, (_, bits) => present.filter((_each, n) => (bits >> n) & 1));
}

/** Place of the largest number; the first of several. */
export function largest(values: number[]): number {
  return values.reduce((best, each, place) => (each > (values[best] ?? 0) ? place : best), 0);
}

/** Shapley values (Shapley 1953) of n players, from the value of every subset in the order of `coalitions`. */
export function shapley(values: number[]): number[] {
  const n = Math.log2(values.length);
  return Array.from({ length: n }, (_, player) => {
    let share = 0;
    for (let bits = 0; bits < values.length; bits += 1) {
      if ((bits >> player) & 1) continue;
      const others = countBits(bits);
      const weight = (factorial(others) * factorial(n - others - 1)) / factorial(n);
      share += weight * ((values[bits | (1 << player)] ?? 0) - (values[bits] ?? 0));
    }
    return share;
  });
}

function factorial(n: number): number {
  return n < 2 ? 1 : n * factorial(n - 1);
}

function countBits(bits: number): number {
  return bits === 0 ? 0 : (bits & 1) + countBits(bits >> 1);
}

/** The answer for a patient, as the server makes it, from the readings of its `coalitions`. */
export function assemble(facts: PageFacts, present: number[], readings: Reading[], engine: Answer['engine']): Answer {
  const { model, farthest } = facts;
  const all = readings.at(-1);
  if (!all?.probabilities.every(Number.isFinite)) throw new Refusal('not-finite');
  const byClass = (values: number[]): Probabilities =>
    Object.fromEntries(model.classes.map((name, c) => [name, values[c] ?? 0]));
  const name = (place: number): string => model.modalities[place] ?? '';
  const likeliest = largest(all.probabilities);
  const shares = shapley(readings.map(({ probabilities }) => probabilities[likeliest] ?? 0));
  return {
    probabilities: byClass(all.probabilities),
    set: model.classes.filter((_, c) => (all.pValues[c] ?? 0) > facts.miss_rate + TIE),
    contributions: Object.fromEntries(present.map((place, n) => [name(place), shares[n] ?? 0])),
    modalities: present.map(name),
    kind: 'calibrated',
    unlike: farthest === null ? null : present.some((place) => (all.unlike[place] ?? 0) > farthest),
    model: { title: model.title, digest: model.digest },
    engine,
    warnings: model.warnings,
    warning_codes: model.warning_codes,
    alone: Object.fromEntries(
      present.flatMap((place) => {
        const own = all.alone[place] ?? [];
        return own.every(Number.isFinite) ? [[name(place), byClass(own)]] : [];
      }),
    ),
  };
}
