import { describe, expect, it } from 'vitest';
import type { PlacedFile } from '../parts/dropped';
import { groupFiles, nameOf, type Takes } from './group';

const TAKES: Takes = { modalities: ['2d', 'cdfi', 'elastic'], clinical: ['age'] };

function file(path: string, text = 'x'): PlacedFile {
  return { path, file: new File([text], path.split('/').at(-1) ?? path) };
}

async function found(...files: PlacedFile[]): Promise<[Record<string, Record<string, string>>, string[]]> {
  const { patients, unused } = await groupFiles(files, TAKES);
  const names = patients.map(({ id, pictures }) => [
    id,
    Object.fromEntries(Object.entries(pictures).map(([modality, each]) => [modality, each.name])),
  ]);
  return [Object.fromEntries(names) as Record<string, Record<string, string>>, unused.map((u) => `${u.path}: ${u.reason}`)];
}

describe('names', () => {
  it.each([
    ['P1/2d.png', 'P1', '2d'],
    ['site/P1/elastic_0.png', 'site/P1', 'elastic'],
    ['P1_cdfi.png', 'P1', 'cdfi'],
    ['P-001-2D-0.dcm', 'P-001', '2d'],
    ['2d/1/171-3.jpg', '1/171', '2d'],
    ['2d/P1.png', 'P1', '2d'],
    ['P1/CDFI/any.png', 'P1', 'cdfi'],
  ])('%s is of patient %s', (path, id, modality) => {
    expect(nameOf(path, TAKES.modalities)).toEqual({ id, modality });
  });

  it.each(['P1.png', 'P1/other.png', '2d.png', 'abc2d.png'])('%s says no patient with a modality', (path) => {
    expect(nameOf(path, TAKES.modalities)).toBeNull();
  });
});

describe('folders', () => {
  it('drops the folder that all lie in, but never the patient', async () => {
    const [one] = await found(file('up/P1/2d.png'), file('up/P1/cdfi.png'));
    expect(Object.keys(one)).toEqual(['P1']);
    const [two] = await found(file('up/P2/2d.png'), file('up/P10/2d.png'));
    expect(Object.keys(two)).toEqual(['P2', 'P10']);
    const [three] = await found(file('up/2d/0/1-1.jpg'), file('up/cdfi/0/1-1.jpg'));
    expect(three).toEqual({ '0/1': { '2d': '1-1.jpg', cdfi: '1-1.jpg' } });
  });

  it('names every file that it does not use', async () => {
    const [patients, unused] = await found(
      file('P1/2d.png'),
      file('P1/2d_1.png'),
      file('P1/scan.png'),
      file('notes.txt'),
      file('.DS_Store'),
    );
    expect(patients).toEqual({ P1: { '2d': '2d.png' } });
    expect(unused).toEqual(['notes.txt: kind', 'P1/2d_1.png: second', 'P1/scan.png: unknown']);
  });
});

describe('tables', () => {
  it('reads a row per patient, with clinical values, in any separator', async () => {
    const table = file('up/t.csv', '\uFEFFpatient_id;label;2D;cdfi;Age\nA;benign;a.png;pics\\b.png;44\nB;benign;NA;c.png;\n');
    const batch = await groupFiles([table, file('up/a.png'), file('up/pics/b.png'), file('up/pics/c.png')], TAKES);
    expect(batch.unused).toEqual([]);
    expect(batch.patients.map((p) => [p.id, Object.keys(p.pictures), p.clinical])).toEqual([
      ['A', ['2d', 'cdfi'], { age: '44' }],
      ['B', ['cdfi'], {}],
    ]);
  });

  it('reads a row per picture and names what does not fit', async () => {
    const table = file('t.csv', 'patient_id,modality,path\nA,2d,a.png\nA,xray,x.png\nB,cdfi,gone.png\n,2d,a.png\n');
    const [patients, unused] = await found(table, file('a.png'), file('x.png'), file('more.png'));
    expect(patients).toEqual({ A: { '2d': 'a.png' } });
    expect(unused).toEqual(['x.png: modality', 'gone.png: missing', 't.csv:5: noPatient', 'more.png: unnamed']);
  });

  it('does not guess between two pictures of one name', async () => {
    const table = file('t.csv', 'patient_id,2d\nA,a.png\n');
    const [, unused] = await found(table, file('one/a.png'), file('two/a.png'));
    expect(unused).toContain('a.png: missing');
  });

  it('refuses a table without the columns, and Excel', async () => {
    expect((await found(file('t.csv', 'id,x\n1,2\n')))[1]).toEqual(['t.csv: columns']);
    expect((await found(file('t.xlsx')))[1]).toEqual(['t.xlsx: excel']);
  });
});
