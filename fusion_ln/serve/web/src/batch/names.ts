/** Endings of pictures. */
export const PICTURE = /\.(png|jpe?g|gif|bmp|tiff?|webp|dcm|dicom)$/i;

const NUMBERED = /^\p{L}{0,3}[-_ ]?\d[\d._-]*$/u; // a folder named as patients are: 001, P-001, 2024-001

interface Name {
  id: string;
  modality: string;
}

/** A path without the ending of its picture: `2d` stands before `2d_1`; `1.2.840.5` has no ending. */
export function stemOf(path: string): string {
  return path.replace(PICTURE, '');
}

export function find(text: string, modalities: string[]): string | undefined {
  return modalities.find((name) => name.toLowerCase() === text.toLowerCase());
}

/**
 * Patient and modality of a path. `P1/2d/any.png`: the patient is the folder above that of the modality.
 * `2d/P1.png`: the patient is the whole name. `P1/2d_0.png`, `P1_2d.png`, `P1-2d-0.png`: what stands before the modality.
 */
export function nameOf(path: string, modalities: string[]): Name | null {
  const folders = path.split('/');
  const stem = stemOf(folders.pop() ?? '');
  const above = folders.findIndex((folder) => find(folder, modalities));
  const modality = find(folders[above] ?? '', modalities);
  const own = beforeModality(stem, modalities);
  if (modality !== undefined) {
    if (above > 0) return { id: folders.slice(0, above).join('/'), modality };
    const last = own?.modality === modality && own.id ? own.id : stem;
    return { id: [...folders.slice(1), last].join('/'), modality };
  }
  const id = [...folders, own?.id].filter(Boolean).join('/');
  return own && id ? { id, modality: own.modality } : null;
}

/** `P-001` and `2d` of `P-001-2d-0`. */
function beforeModality(stem: string, modalities: string[]): Name | null {
  const words = stem.split(/([-_ ]+)/); // every second one stands between two words
  const place = words.findIndex((word) => find(word, modalities));
  const modality = find(words[place] ?? '', modalities);
  return modality === undefined ? null : { id: words.slice(0, Math.max(0, place - 1)).join(''), modality };
}

/**
 * Folder that all paths lie in, as long as the names below it still say patient and modality. A folder with folders of
 * modalities may be a patient's or hold those of all; it is a patient's where it is named by a number.
 */
export function commonFolder(paths: string[], modalities: string[]): string {
  let common = '';
  for (;;) {
    const rest = paths[0]?.slice(common.length) ?? '';
    const folder = rest.slice(0, rest.indexOf('/') + 1);
    const name = folder.slice(0, -1);
    const next = common + folder;
    const shared = folder !== '' && !find(name, modalities) && paths.every((path) => path.startsWith(next));
    if (!shared) return common;
    const below = paths.map((path) => path.slice(next.length));
    const patient = NUMBERED.test(name) && below.some((path) => path.includes('/') && find(path.split('/', 1)[0] ?? '', modalities));
    if (patient || !below.some((path) => nameOf(path, modalities))) return common;
    common = next;
  }
}
