import type { PictureInfo } from '../api/types';

/** A picture that was given, with the modality it is taken for. */
export interface Picture {
  id: number;
  file: File;
  modality: string | null;
  /** Modality by its colours; null while that is unknown. */
  guess: string | null;
  /** The modality was taken over from the guess. */
  guessed: boolean;
  info: PictureInfo | null;
  error: unknown;
}

export type Change =
  | { kind: 'add'; picture: Pick<Picture, 'id' | 'file' | 'modality'> }
  | { kind: 'read'; id: number; info: PictureInfo }
  | { kind: 'refused'; id: number; error: unknown }
  | { kind: 'move'; id: number; modality: string | null }
  | { kind: 'remove'; id: number }
  | { kind: 'clear' };

/** The pictures after a change: no two of them are ever of one modality. */
export function change(pictures: Picture[], action: Change): Picture[] {
  switch (action.kind) {
    case 'add': {
      const { picture } = action;
      const rest = picture.modality === null ? pictures : pictures.filter((p) => p.modality !== picture.modality);
      return [...rest, { ...picture, guess: null, guessed: false, info: null, error: null }];
    }
    case 'read': {
      const guess = action.info.modality;
      return pictures.map((p) => {
        if (p.id !== action.id) return p;
        const free = guess !== null && !pictures.some((other) => other.modality === guess);
        const takes = p.modality === null && free;
        return { ...p, info: action.info, guess, guessed: takes, modality: takes ? guess : p.modality };
      });
    }
    case 'refused':
      return pictures.map((p) => (p.id === action.id ? { ...p, error: action.error } : p));
    case 'move':
      return move(pictures, action.id, action.modality);
    case 'remove':
      return pictures.filter((p) => p.id !== action.id);
    case 'clear':
      return [];
  }
}

/** Give a picture a modality; the picture that had it takes the other's former place. */
function move(pictures: Picture[], id: number, modality: string | null): Picture[] {
  const former = pictures.find((p) => p.id === id)?.modality ?? null;
  return pictures.map((p) => {
    if (p.id === id) return { ...p, modality, guessed: false };
    return modality !== null && p.modality === modality ? { ...p, modality: former, guessed: false } : p;
  });
}

/** Files by modality; null while a picture is unread, refused, or of no modality. */
export function askable(pictures: Picture[]): Record<string, File> | null {
  if (pictures.length === 0) return null;
  const files: Record<string, File> = {};
  for (const { modality, file, info } of pictures) {
    if (modality === null || info === null) return null;
    files[modality] = file;
  }
  return files;
}
