import { describe, expect, it } from 'vitest';
import type { Answer } from '../api/types';
import { speak, type Language } from '../words/words';
import { answerRows } from './rows';
import { describeSet, startOf } from './sets';
import { sayTrust } from './trust';

const ANSWER: Answer = {
  probabilities: { benign: 0.1, lymphoma: 0.2, metastatic: 0.7 },
  set: ['metastatic', 'lymphoma'],
  contributions: { '2d': 0.3, cdfi: -0.1 },
  modalities: ['2d', 'cdfi'],
  kind: 'calibrated',
  unlike: false,
  model: { title: 'Mean', digest: 'abc' },
  engine: { name: 'torch', version: '2' },
  warnings: [],
  warning_codes: [],
  alone: {},
};
const CLASSES = ['benign', 'lymphoma', 'metastatic'];

describe('words for a set', () => {
  const say = (set: string[], language: Language): string => {
    const { words, title } = speak(language);
    return describeSet(set, CLASSES, (name) => title(name, { benign: 'Benign', lymphoma: 'Lymphoma', metastatic: 'Metastatic' }), words);
  };

  it.each([
    [[], 'No class fits', '没有符合的类别'],
    [['lymphoma'], 'Lymphoma is the only class', '只有淋巴瘤'],
    [['metastatic', 'benign'], 'Benign and Metastatic remain possible', '良性和转移癌均有可能'],
    [CLASSES, 'Every class remains possible', '所有类别均有可能'],
  ])('%j', (set, english, chinese) => {
    expect(say(set, 'en')).toContain(english);
    expect(say(set, 'zh')).toContain(chinese);
  });
});

it('starts the contributions where no picture was seen', () => {
  const { name, start, end } = startOf(ANSWER);
  expect([name, end]).toEqual(['metastatic', 0.7]);
  expect(start).toBeCloseTo(0.5);
});

it('writes the columns of the command, and a reason where there is no answer', () => {
  const outcomes = [
    { patient: 'P1', answer: ANSWER, problem: '' },
    { patient: 'P2', answer: null, problem: '2d: truncated' },
  ];
  const [header = [], first = [], second = []] = answerRows(outcomes, CLASSES, ['2d', 'cdfi', 'elastic']);
  const cell = (row: (string | number)[], column: string): string | number | undefined => row[header.indexOf(column)];
  expect([header.length, second.length]).toEqual([first.length, first.length]);
  expect(cell(first, 'predicted')).toBe('metastatic');
  expect(cell(first, 'contribution_cdfi')).toBe(-0.1);
  expect(cell(first, 'modalities')).toBe('2d+cdfi');
  expect([cell(second, 'patient_id'), cell(second, 'problem')]).toEqual(['P2', '2d: truncated']);
});

describe('words for the maps that are trusted', () => {
  const { words, points } = speak('en');
  const offered = [{ name: 'gradcam', title: 'Grad-CAM', trusted: false }];
  const tested = (method: string, gain: number): string =>
    sayTrust({ method, title: method.toUpperCase(), gain, random: 0.02, patients: 12 }, offered, words, points);

  it('name the method with its figures, also where it is not offered', () => {
    expect(tested('gradcam', 0.31)).toMatch(/GRADCAM was trusted most\. .*\+31 percentage points.*\+2 \(12 patients\)/);
    expect(tested('ig', 0.31)).toContain('IG was trusted most, which this page does not compute');
  });

  it('say why none is', () => {
    expect(tested('ig', 0.01)).toContain('none did better than random maps');
    expect(sayTrust(null, offered, words, points)).toContain('did not test');
  });
});
