import type { CohortSummary, Example, Model } from '../api/types';

/** Content of model.json, which `fusionln export --page` writes beside the page. */
export interface PageFacts {
  model: Model;
  cohort: CohortSummary;
  examples: Example[];
  /** Pixels a side of the pictures, by modality in the order of the networks. */
  sides: Record<string, number>;
  /** Folder of the model's parts. */
  folder: string;
  /** Number of models that answer together. */
  folds: number;
  /** Bytes of all parts. */
  bytes: number;
  /** Shape of the maps of one picture, by body. */
  shapes: Record<string, number[]>;
  /** Distance beyond which a picture is unlike those of the study; null where that is not known. */
  farthest: number | null;
  /** A class whose p-value exceeds it remains possible. */
  miss_rate: number;
  /** Colours of a map, from low to high, as `#rrggbb`. */
  colours: string[];
}

/** Pixels of a picture, row by row: red, green, blue. */
export interface Pixels {
  width: number;
  height: number;
  rgb: Uint8Array;
}

/** Name of the body of the modality at a place, in the model at a place: as the export names it. */
export function bodyName(modality: number, fold: number): string {
  return `body-${modality}-${fold}`;
}
