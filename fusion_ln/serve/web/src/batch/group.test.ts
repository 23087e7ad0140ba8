import { describe, expect, it } from 'vitest';
import type { PlacedFile } from '../parts/dropped';
import { groupFiles, type Takes } from './group';
import { nameOf } from './names';

const TAKES: Takes = { modalities: ['2d', 'cdfi', 'elastic'], clinical: ['age'] };

function file(path: string, text: string | Uint8Array<ArrayBuffer> = 'x'): PlacedFile {
  return { path, file: new File([text], path.split('/').at(-1) ?? path) };
}

function units(text: string): number[] {
  return Array.from({ length: text.length }, (_, n) => text.charCodeAt(n));
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
    ['2d/1/171-3.jpg', '1/171-3', '2d'],
    ['2d/P1.png', 'P1', '2d'],
    ['2d/P-001.png', 'P-001', '2d'],
    ['2d/P1_2D_0.png', 'P1', '2d'],
    ['2d/1.2.840.5', '1.2.840.5', '2d'],
    ['P1/CDFI/any.png', 'P1', 'cdfi'],
    ['P1/2d/series/IM-1', 'P1', '2d'],
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
    expect(three).toEqual({ '0/1-1': { '2d': '1-1.jpg', cdfi: '1-1.jpg' } });
  });

  it('never merges patients whose names begin alike', async () => {
    const [one] = await found(file('2d/P-001.png'), file('cdfi/P-002.png'));
    expect(one).toEqual({ 'P-001': { '2d': 'P-001.png' }, 'P-002': { cdfi: 'P-002.png' } });
    const [two] = await found(file('up/2d/2024-001-1.png'), file('up/cdfi/2024-002-1.png'));
    expect(Object.keys(two)).toEqual(['2024-001-1', '2024-002-1']);
    const [three] = await found(file('2d/1.2.840.5'), file('2d/1.2.840.6'));
    expect(Object.keys(three)).toEqual(['1.2.840.5', '1.2.840.6']);
  });

  it('never splits the folder of a patient', async () => {
    const [patients, unused] = await found(file('001/2d/a.png'), file('001/2d/b.png'), file('001/elastic/a.png'));
    expect(patients).toEqual({ '001': { '2d': 'a.png', elastic: 'a.png' } });
    expect(unused).toEqual(['001/2d/b.png: second']);
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

  it('never takes a picture of another folder for the one that is missing', async () => {
    const table = file('t.csv', 'patient_id,2d,cdfi\nP1,P1/2d.png,P1/cdfi.png\nP2,P2/2d.png,P2/cdfi.png\n');
    const [patients, unused] = await found(table, file('P1/2d.png'), file('P2/cdfi.png'));
    expect(patients).toEqual({ P1: { '2d': '2d.png' }, P2: { cdfi: 'cdfi.png' } });
    expect(unused).toEqual(['P1/cdfi.png: missing', 'P2/2d.png: missing']);
    const [none, flat] = await found(table, file('2d.png'));
    expect(none).toEqual({});
    expect(flat).toEqual(expect.arrayContaining(['P1/2d.png: missing', 'P2/2d.png: missing', '2d.png: unnamed']));
  });

  it('finds pictures that were given without their folders', async () => {
    const table = file('t.csv', 'patient_id,2d,cdfi\nA,C:\\pics\\a.png,/pics/b.png\n');
    expect(await found(table, file('a.png'), file('b.png'))).toEqual([{ A: { '2d': 'a.png', cdfi: 'b.png' } }, []]);
  });

  it('gives a picture to one patient and one modality', async () => {
    const table = file('t.csv', 'patient_id,2d,cdfi\nA,a.png,a.png\nB,a.png,\nB,b.png,\nC,up/c.png,\nD,c.png,\n');
    const [patients, unused] = await found(table, file('a.png'), file('b.png'), file('up/c.png'));
    expect(patients).toEqual({ A: { '2d': 'a.png' }, B: { '2d': 'b.png' }, C: { '2d': 'c.png' } });
    expect(unused).toEqual(['a.png: taken', 'a.png: taken', 'c.png: missing']);
  });

  it.each([
    ['GBK', [0xd5, 0xc5, 0xc8, 0xfd]],
    ['UTF-8', [0xe5, 0xbc, 0xa0, 0xe4, 0xb8, 0x89]],
  ])('reads Chinese patients in %s', async (_, name) => {
    const bytes = new Uint8Array([...units('patient_id,2d\n'), ...name, ...units(',a.png\n')]);
    expect(await found(file('t.csv', bytes), file('a.png'))).toEqual([{ 张三: { '2d': 'a.png' } }, []]);
  });

  it('reads UTF-16 by its mark, and refuses what is in no known encoding', async () => {
    const text = '\uFEFFpatient_id\t2d\n张三\ta.png\n';
    const little = new Uint8Array(new Uint16Array(units(text)).buffer);
    const big = little.map((_, n) => little[n % 2 ? n - 1 : n + 1] ?? 0);
    for (const bytes of [little, big]) {
      expect(await found(file('t.csv', bytes), file('a.png'))).toEqual([{ 张三: { '2d': 'a.png' } }, []]);
    }
    expect((await found(file('t.csv', new Uint8Array([0x61, 0xff, 0x2c, 0x0a]))))[1]).toEqual(['t.csv: encoding']);
  });

  it('says that it reads one table only, and finds nobody in a table without rows', async () => {
    const rows = 'patient_id,2d\n';
    expect(await found(file('t.csv', rows), file('u.csv', rows))).toEqual([{}, ['u.csv: table']]);
  });

  it('refuses a table without the columns, and Excel', async () => {
    expect((await found(file('t.csv', 'id,x\n1,2\n')))[1]).toEqual(['t.csv: columns']);
    expect((await found(file('t.xlsx')))[1]).toEqual(['t.xlsx: excel']);
  });
});
