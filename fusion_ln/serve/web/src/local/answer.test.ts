import { expect, it } from 'vitest';
import { assemble, coalitions, shapley, type Reading } from './answer';
import type { PageFacts } from './facts';

it('shares a gain as the mean over all orders does', () => {
  const values = [0.1, 0.5, 0.3, 0.4, 0.2, 0.9, 0.35, 0.8]; // by bits of the players
  const orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
  const expected = [0, 0, 0];
  for (const order of orders) {
    let held = 0;
    for (const player of order) {
      const next = held | (1 << player);
      expected[player] = (expected[player] ?? 0) + ((values[next] ?? 0) - (values[held] ?? 0)) / orders.length;
      held = next;
    }
  }
  shapley(values).forEach((share, player) => {
    expect(share).toBeCloseTo(expected[player] ?? NaN, 12);
  });
});

const FACTS = {
  model: { title: 'Mean', digest: 'abc', classes: ['a', 'b'], modalities: ['2d', 'cdfi'], warnings: [], warning_codes: [] },
  farthest: 2,
  miss_rate: 0.1,
} as unknown as PageFacts;

const ENGINE = { name: 'onnxruntime-web', version: '1' };

function reading(probability: number, change: Partial<Reading> = {}): Reading {
  const probabilities = [probability, 1 - probability];
  return { probabilities, pValues: [0.1, 0.2], alone: [[0.5, 0.5], [NaN, NaN]], unlike: [1, 3], logits: [], ...change };
}

it('keeps a class out of the set whose p-value is the rate itself, as single precision rounds it', () => {
  const answer = assemble(FACTS, [0], [reading(0.5), reading(0.7, { pValues: [Math.fround(0.1), 0.2] })], ENGINE);
  expect(answer.set).toEqual(['b']);
  expect(answer.contributions['2d']).toBeCloseTo(0.2);
  expect(answer.modalities).toEqual(['2d']);
});

it('looks at the pictures that are there, and tells nothing that it does not know', () => {
  const both = coalitions([0, 1]).map(() => reading(0.6));
  expect(assemble(FACTS, [0], [reading(0.5), reading(0.6)], ENGINE).unlike).toBe(false); // cdfi is far away, but absent
  expect(assemble(FACTS, [0, 1], both, ENGINE).unlike).toBe(true);
  expect(assemble({ ...FACTS, farthest: null }, [0, 1], both, ENGINE).unlike).toBeNull();
  expect(Object.keys(assemble(FACTS, [0, 1], both, ENGINE).alone)).toEqual(['2d']);
  expect(() => assemble(FACTS, [0], [reading(0.5), reading(NaN)], ENGINE)).toThrow('finite');
});
