/** What the server answers, as its OpenAPI document says. */

export interface Method {
  name: string;
  title: string;
  trusted: boolean;
}

/** How the maps of the best method did in the tests of the study, beside random maps. */
export interface MapTests {
  method: string;
  title: string;
  /** Rise of the probability when its pixels are put in instead of taken out. */
  gain: number;
  random: number;
  patients: number;
}

export interface Evaluation {
  date: string;
  cohort: string;
  patients: number;
  labels: boolean;
}

export interface Model {
  title: string;
  digest: string | null;
  classes: string[];
  class_titles: Record<string, string>;
  modalities: string[];
  modality_titles: Record<string, string>;
  modality_colours: Record<string, [string, string]>;
  clinical: string[];
  answer: string;
  licence: string;
  cohort: string;
  patients: Record<string, number>;
  simulated: boolean;
  warnings: string[];
  /** Of each warning; null: only its text says it. */
  warning_codes: (CautionCode | null)[];
  coverage: number;
  evaluations: Evaluation[];
  methods: Method[];
  /** Null: no map was tested. */
  map_tests: MapTests | null;
  keeps_uploads: boolean;
  has_report: boolean;
  has_facts: boolean;
}

/** What is wrong with a picture. */
export type PictureFault =
  | 'empty'
  | 'not-a-picture'
  | 'damaged'
  | 'too-small'
  | 'too-large'
  | 'too-deep'
  | 'too-heavy'
  | 'colours'
  | 'no-decoder'
  | 'video'
  | 'not-cut';

/** What a reader of an answer must know. */
export type CautionCode =
  | 'text-in-picture'
  | 'first-frame'
  | 'trained-on'
  | 'not-checked'
  | 'keeps-uploads'
  | 'no-device'
  | 'simulated'
  | 'paper';

export interface Session {
  needed: boolean;
  open: boolean;
}

export interface PictureInfo {
  modality: string | null;
  width: number;
  height: number;
  preview: string;
  warnings: string[];
  /** Of each warning; null: only its text says it. */
  warning_codes: (CautionCode | null)[];
}

export type Probabilities = Record<string, number>;

export interface Answer {
  probabilities: Probabilities;
  set: string[];
  contributions: Record<string, number>;
  modalities: string[];
  kind: string;
  unlike: boolean | null;
  model: { title: string; digest: string | null };
  /** What computed the networks. */
  engine: { name: string; version: string };
  warnings: string[];
  /** Of each warning; null: only its text says it. */
  warning_codes: (CautionCode | null)[];
  alone: Record<string, Probabilities>;
}

export interface Explanation {
  target: string;
  pictures: Record<string, string>;
  maps: Record<string, Record<string, string>>;
  methods: Method[];
}

export interface Example {
  name: string;
  class: string;
  pictures: Record<string, string>;
}

export interface Link {
  title: string;
  url: string;
  licence: string | null;
}

export interface CohortSummary {
  name: string;
  simulated: boolean;
  licence: string | null;
  patients: Record<string, number>;
  pictures: Record<string, number>;
  folds: number;
  data_sets: Link[];
  code: Link[];
}
