import { parseCsv } from '../parts/csv';
import type { PlacedFile } from '../parts/dropped';
import { readText } from '../parts/text';
import { matchCells } from './match';
import { commonFolder, find, nameOf, PICTURE, stemOf } from './names';

/** A patient of a batch: a picture by modality, and values of the model's clinical columns. */
export interface BatchPatient {
  id: string;
  pictures: Record<string, File>;
  clinical: Record<string, string>;
}

export type Reason =
  | 'unknown'
  | 'kind'
  | 'second'
  | 'taken'
  | 'missing'
  | 'noPatient'
  | 'modality'
  | 'unnamed'
  | 'columns'
  | 'encoding'
  | 'table'
  | 'excel';

export interface Unused {
  path: string;
  reason: Reason;
}

export interface Batch {
  patients: BatchPatient[];
  unused: Unused[];
}

export interface Takes {
  modalities: string[];
  clinical: string[];
}

const GAPS = new Set(['', 'na', 'n/a', 'nan', 'null', '-', 'none', 'missing']);
const order = new Intl.Collator('en', { numeric: true });

/** Collects patients; a second picture of a modality, or a picture of two, is named, not used. */
class Collector {
  readonly unused: Unused[] = [];
  private readonly patients = new Map<string, BatchPatient>();
  private readonly taken = new Set<File>();

  patient(id: string): BatchPatient {
    const held = this.patients.get(id) ?? { id, pictures: {}, clinical: {} };
    this.patients.set(id, held);
    return held;
  }

  add(id: string, modality: string, { path, file }: PlacedFile): void {
    const { pictures } = this.patient(id);
    if (pictures[modality] === file) return; // said twice
    if (modality in pictures) this.refuse(path, 'second');
    else if (this.taken.has(file)) this.refuse(path, 'taken');
    else {
      pictures[modality] = file;
      this.taken.add(file);
    }
  }

  refuse(path: string, reason: Reason): void {
    this.unused.push({ path, reason });
  }

  batch(): Batch {
    const patients = [...this.patients.values()].filter((each) => Object.keys(each.pictures).length > 0);
    return { patients: patients.sort((a, b) => order.compare(a.id, b.id)), unused: this.unused };
  }
}

/** Patients of what was given: by the CSV among the files, or by their names and folders. */
export async function groupFiles(files: PlacedFile[], takes: Takes): Promise<Batch> {
  const visible = files.filter(({ path }) => !path.split('/').some((part) => part.startsWith('.')));
  const tables = visible.filter(({ path }) => /\.csv$/i.test(path)).sort((a, b) => order.compare(a.path, b.path));
  const [table, ...others] = tables;
  const found = new Collector();
  const pictures: PlacedFile[] = [];
  for (const each of visible) {
    if (/\.xlsx?$/i.test(each.path) && !table) found.refuse(each.path, 'excel');
    else if (PICTURE.test(each.path) || !/\.[a-z]{1,5}$/i.test(each.path)) pictures.push(each);
    else if (each !== table && !others.includes(each)) found.refuse(each.path, 'kind');
  }
  for (const other of others) found.refuse(other.path, 'table');
  pictures.sort((a, b) => order.compare(stemOf(a.path), stemOf(b.path)));
  if (table) {
    const text = await readText(table.file);
    if (text === null) found.refuse(table.path, 'encoding');
    else byTable(text, table.path, pictures, takes, found);
  } else byNames(pictures, takes, found);
  return found.batch();
}

function byTable(text: string, path: string, pictures: PlacedFile[], takes: Takes, found: Collector): void {
  const [header = [], ...rows] = parseCsv(text);
  const columns = header.map((name) => name.toLowerCase());
  const at = (row: string[], column: string): string => row[columns.indexOf(column.toLowerCase())] ?? '';
  const rowPerPicture = columns.includes('modality') && columns.includes('path');
  const listed = takes.modalities.filter((name) => columns.includes(name.toLowerCase()));
  if (!columns.includes('patient_id') || (!rowPerPicture && listed.length === 0)) {
    found.refuse(path, 'columns');
    return;
  }
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  const cellsOf = (row: string[]): string[][] => {
    const cells = rowPerPicture ? [[at(row, 'modality'), at(row, 'path')]] : listed.map((name) => [name, at(row, name)]);
    return cells.filter(([, cell = '']) => !GAPS.has(cell.toLowerCase()));
  };
  const matched = matchCells(rows.flatMap(cellsOf).map(([, cell = '']) => cell), pictures, folder);
  rows.forEach((row, n) => {
    const id = at(row, 'patient_id');
    if (GAPS.has(id.toLowerCase())) {
      found.refuse(`${path}:${n + 2}`, 'noPatient');
      return;
    }
    for (const [spelt = '', cell = ''] of cellsOf(row)) {
      const modality = find(spelt, takes.modalities);
      const picture = matched.get(cell);
      if (!modality) found.refuse(cell, 'modality');
      else if (!picture) found.refuse(cell, 'missing');
      else found.add(id, modality, picture);
    }
    for (const column of takes.clinical) {
      const value = at(row, column);
      if (!GAPS.has(value.toLowerCase())) found.patient(id).clinical[column] = value;
    }
  });
  const named = new Set(matched.values());
  for (const picture of pictures) if (!named.has(picture)) found.refuse(picture.path, 'unnamed');
}

function byNames(pictures: PlacedFile[], { modalities }: Takes, found: Collector): void {
  const common = commonFolder(pictures.map(({ path }) => path), modalities);
  for (const picture of pictures) {
    const name = nameOf(picture.path.slice(common.length), modalities);
    if (name) found.add(name.id, name.modality, picture);
    else found.refuse(picture.path, 'unknown');
  }
}
