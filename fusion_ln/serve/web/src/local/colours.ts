import type { Pixels } from './facts';

/** The rule of `fusion_ln/cohort/checks/colours.py`. */
const COLOUR_SPREAD = 32;
const COLOURED_FROM = 0.003;
const STRAIN_FROM = 0.15;

/** Modality of a picture by its colours alone: a guess to be corrected by hand. */
export function guessModality({ rgb }: Pixels): string {
  let coloured = 0;
  for (let n = 0; n < rgb.length; n += 3) {
    const red = rgb[n] ?? 0;
    const green = rgb[n + 1] ?? 0;
    const blue = rgb[n + 2] ?? 0;
    if (Math.max(red, green, blue) - Math.min(red, green, blue) > COLOUR_SPREAD) coloured += 1;
  }
  const share = (3 * coloured) / rgb.length;
  if (share < COLOURED_FROM) return '2d';
  return share < STRAIN_FROM ? 'cdfi' : 'elastic';
}
