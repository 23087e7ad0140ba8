import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { Problem, Refusal } from '../api/client';
import { en } from '../words/en';
import { zh } from '../words/zh';
import { sayProblem, sayProblemInLine } from './problem';

const DAMAGED = new Problem(422, '2d: truncated or damaged.', 'Fetch it again.', 'damaged');

it("gives an English reader the server's own words, and no other twice", () => {
  expect(sayProblem(DAMAGED, en)).toEqual({ title: '2d: truncated or damaged.', way: 'Fetch it again.', original: '' });
});

it.each([
  [DAMAGED, '损坏'],
  [new Problem(413, 'More than 64 MB.', 'Send less.'), '大小'],
  [new Problem(503, 'Every place is taken.', 'Try again in 2 s.'), '繁忙'],
  [new Problem(418, 'A teapot.', 'Ask for tea.', 'of-a-later-server'), '拒绝'],
])("says %s in Chinese, with the server's words beneath", (problem, expected) => {
  const { title, way, original } = sayProblem(problem, zh);
  expect(title).toContain(expected);
  expect(title + way).not.toMatch(/[a-z]{3}/);
  expect(original).toBe(`${problem.detail} ${problem.wayOut}`);
  expect(sayProblemInLine(problem, zh)).toContain(problem.detail);
});

it('says what the page itself refuses in either language, its numbers beside it', () => {
  const small = new Refusal('too-small', '8 x 8');
  expect(sayProblemInLine(small, en)).toMatch(/^Too few pixels.* 8 x 8$/);
  expect(sayProblem(small, zh)).toMatchObject({ title: expect.stringContaining('像素过少') as string, original: '8 x 8' });
  expect(sayProblem(new Problem(0, '', ''), zh).title).toBe(zh.unreachable);
});

it('keeps sentences out of the code that refuses', () => {
  const folder = new URL('../local/', import.meta.url);
  for (const name of readdirSync(folder).filter((each) => !each.endsWith('.test.ts'))) {
    const code = readFileSync(new URL(name, folder), 'utf8').replace(/\/\*[^]*?\*\/|\/\/.*/g, '');
    expect(code.match(/(['"`])[A-Z][^'"`\n]* [^'"`\n]*[.:]\1/g), name).toBeNull();
  }
});
