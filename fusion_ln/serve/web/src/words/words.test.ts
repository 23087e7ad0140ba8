import { expect, it } from 'vitest';
import { en } from './en';
import { speak } from './words';
import { zh } from './zh';

/** Texts of a dictionary by their place in it; functions are called with their places. */
function texts(words: object, at = ''): Record<string, string> {
  return Object.fromEntries(
    Object.entries(words).flatMap(([key, value]: [string, unknown]): [string, string][] => {
      const here = `${at}.${key}`;
      if (typeof value === 'string') return [[here, value]];
      if (typeof value === 'function') return [[here, (value as (...given: number[]) => string)(2, 3, 4)]];
      return typeof value === 'object' && value !== null ? Object.entries(texts(value, here)) : [];
    }),
  );
}

it('says everything in Chinese', () => {
  const chinese = texts(zh);
  for (const [place, text] of Object.entries(texts(en))) {
    if (place.startsWith('.names')) continue;
    expect(chinese[place], place).toBeTruthy();
    if (/[a-z]{3}/.test(text.replace(/patient_id|path|modality|CSV|JSON/g, ''))) {
      expect(chinese[place], place).toMatch(/[\u4e00-\u9fff]/);
    }
  }
});

it('never rounds a probability to none or to certainty', () => {
  const { percent } = speak('en');
  expect([0, 0.00001, 0.005, 0.5, 0.995, 0.99999, 1].map(percent)).toEqual(
    ['0%', '<0.1%', '0.5%', '50%', '99.5%', '>99.9%', '100%'],
  );
});
