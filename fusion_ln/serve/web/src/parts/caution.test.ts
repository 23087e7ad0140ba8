import { expect, it } from 'vitest';
import { en } from '../words/en';
import { zh } from '../words/zh';
import { sayCautions } from './caution';

const FRAMES = '2d: the file holds 3 frames; the first alone is used.';
const GIVEN = { warnings: [FRAMES, 'Of a later server.'], warning_codes: ['first-frame' as const, null] };

it('says a warning in Chinese by its code, with the words of the server after it', () => {
  const [known, unknown] = sayCautions(GIVEN, zh);
  expect(known).toEqual({ text: FRAMES, said: expect.stringContaining('第一帧') as string, original: FRAMES });
  expect(unknown).toMatchObject({ said: '', original: 'Of a later server.' });
});

it('says a warning that is always the same in Chinese alone', () => {
  const [said] = sayCautions({ warnings: ['Research only.'], warning_codes: ['no-device'] }, zh);
  expect(said).toMatchObject({ said: expect.stringContaining('研究软件') as string, original: '' });
});

it("gives an English reader the server's own words once", () => {
  expect(sayCautions(GIVEN, en).map(({ said, original }) => said + original)).toEqual(GIVEN.warnings);
});
