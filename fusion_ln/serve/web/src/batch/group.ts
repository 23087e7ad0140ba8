import { parseCsv } from '../parts/csv';
import type { PlacedFile } from '../parts/dropped';

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
  | 'missing'
  | 'noPatient'
  | 'modality'
  | 'unnamed'
  | 'columns'
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
const PICTURE = /\.(png|jpe?g|gif|bmp|tiff?|webp|dcm|dicom)$/i;
const order = new Intl.Collator('en', { numeric: true });

/** Collects patients; a second picture of a modality is named, not used. */
class Collector {
  readonly unused: Unused[] = [];
  private readonly patients = new Map<string, BatchPatient>();

  patient(id: string): BatchPatient {
    const held = this.patients.get(id) ?? { id, pictures: {}, clinical: {} };
    this.patients.set(id, held);
    return held;
  }

  add(id: string, modality: string, { path, file }: PlacedFile): void {
    const { pictures } = this.patient(id);
    if (modality in pictures) this.refuse(path, 'second');
    else pictures[modality] = file;
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
  for (const other of others) found.refuse(other.path, 'kind');
  pictures.sort((a, b) => order.compare(stemOf(a.path), stemOf(b.path)));
  if (table) byTable(await table.file.text(), table.path, pictures, takes, found);
  else byNames(pictures, takes, found);
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
  const folder = path.includes('/') ? path.slice(0, path.lastIndexOf('/') + 1) : '';
  const named = new Set<PlacedFile>();
  rows.forEach((row, n) => {
    const id = at(row, 'patient_id');
    if (GAPS.has(id.toLowerCase())) {
      found.refuse(`${path}:${n + 2}`, 'noPatient');
      return;
    }
    const cells = rowPerPicture ? [[at(row, 'modality'), at(row, 'path')]] : listed.map((name) => [name, at(row, name)]);
    for (const [spelt = '', cell = ''] of cells) {
      if (GAPS.has(cell.toLowerCase())) continue;
      const modality = find(spelt, takes.modalities);
      const picture = findPicture(pictures, folder, cell);
      if (picture) named.add(picture);
      if (!modality) found.refuse(cell, 'modality');
      else if (!picture) found.refuse(cell, 'missing');
      else found.add(id, modality, picture);
    }
    for (const column of takes.clinical) {
      const value = at(row, column);
      if (!GAPS.has(value.toLowerCase())) found.patient(id).clinical[column] = value;
    }
  });
  for (const picture of pictures) if (!named.has(picture)) found.refuse(picture.path, 'unnamed');
}

/** The picture that a cell names: relative to the table, or, where only one ends so, by the end of its path. */
function findPicture(pictures: PlacedFile[], folder: string, cell: string): PlacedFile | undefined {
  const path = cell.replaceAll('\\', '/').replace(/^\.\//, '');
  const exact = pictures.find((each) => each.path === folder + path);
  if (exact) return exact;
  const name = path.slice(path.lastIndexOf('/') + 1);
  for (const end of [path, name]) {
    const alike = pictures.filter((each) => each.path === end || each.path.endsWith(`/${end}`));
    if (alike.length === 1) return alike[0];
  }
  return undefined;
}

function byNames(pictures: PlacedFile[], { modalities }: Takes, found: Collector): void {
  const common = commonFolder(pictures.map(({ path }) => path), modalities);
  for (const picture of pictures) {
    const name = nameOf(picture.path.slice(common.length), modalities);
    if (name) found.add(name.id, name.modality, picture);
    else found.refuse(picture.path, 'unknown');
  }
}

/** Folder that all paths lie in, as long as the names below it still say patient and modality. */
function commonFolder(paths: string[], modalities: string[]): string {
  let common = '';
  for (;;) {
    const rest = paths[0]?.slice(common.length) ?? '';
    const folder = rest.slice(0, rest.indexOf('/') + 1);
    const next = common + folder;
    const shared = folder !== '' && !find(folder.slice(0, -1), modalities) && paths.every((path) => path.startsWith(next));
    if (!shared || !paths.some((path) => nameOf(path.slice(next.length), modalities))) return common;
    common = next;
  }
}

/** A path without the ending of its file: `2d` stands before `2d_1`. */
function stemOf(path: string): string {
  return path.replace(/\.[^./]*$/, '');
}

function find(text: string, modalities: string[]): string | undefined {
  return modalities.find((name) => name.toLowerCase() === text.toLowerCase());
}

/** Patient and modality of a path: `2d/…/P1-3.png`, `P1/2d/any.png`, `P1/2d_0.png`, `P1_2d.png`, `P1-2d-0.png`. */
export function nameOf(path: string, modalities: string[]): { id: string; modality: string } | null {
  const folders = path.split('/');
  const stem = stemOf(folders.pop() ?? '');
  const above = folders.findIndex((folder) => find(folder, modalities));
  const modality = find(folders[above] ?? '', modalities);
  if (modality !== undefined) {
    const others = folders.filter((_, n) => n !== above);
    const innermost = above > 0 && above === folders.length - 1; // folders of patients, each with its modalities
    return { id: (innermost ? others : [...others, stem.split('-', 1)[0]]).join('/'), modality };
  }
  const words = stem.split(/([-_ ]+)/); // every second one stands between two words
  const place = words.findIndex((word) => find(word, modalities));
  const named = find(words[place] ?? '', modalities);
  const before = words.slice(0, Math.max(0, place - 1)).join('');
  const id = [...folders, before].filter(Boolean).join('/');
  return named !== undefined && id ? { id, modality: named } : null;
}
