import type { OwnFault } from '../words/en';
import type { PageFacts } from './facts';

/** Question to the worker; `pictures` by modality. */
export type Question =
  | { id: number; kind: 'load'; facts: PageFacts; base: string }
  | { id: number; kind: 'picture'; file: File }
  | { id: number; kind: 'predict' | 'explain'; pictures: Record<string, File> }
  | { id: number; kind: 'cancel' };

/** Answer of the worker to the question of this id. */
export type Reply =
  | { id: number; kind: 'share'; share: number }
  | { id: number; kind: 'done'; value: unknown }
  | { id: number; kind: 'refused'; fault: OwnFault; detail: string };

/** A picture that was looked at. */
export interface Look {
  modality: string;
  width: number;
  height: number;
  frames: number;
}

/** Maps and pictures as PNG, by modality; the page makes addresses of them. */
export interface Painted {
  target: string;
  pictures: Record<string, Blob>;
  maps: Record<string, Blob>;
}
