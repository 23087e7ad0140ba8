import type { Answer } from '../api/types';
import { likeliest } from './sets';

/** An answer, or what came instead of it, for a table. */
export interface Outcome {
  patient: string;
  answer: Answer | null;
  problem: string;
}

/** Table of answers: a header and a row per patient, in the columns of the table of `fusionln predict`. */
export function answerRows(outcomes: Outcome[], classes: string[], modalities: string[]): (string | number)[][] {
  const header = [
    'patient_id',
    'predicted',
    ...classes.map((name) => `prob_${name}`),
    'set',
    ...modalities.map((name) => `contribution_${name}`),
    'modalities',
    'unlike',
    'probabilities',
    'model',
    'warnings',
    'problem',
  ];
  const empty = header.slice(2).map(() => '');
  const rows = outcomes.map(({ patient, answer, problem }) =>
    answer
      ? [
          patient,
          likeliest(answer.probabilities),
          ...classes.map((name) => answer.probabilities[name] ?? ''),
          answer.set.join(' / '),
          ...modalities.map((name) => answer.contributions[name] ?? 0),
          answer.modalities.join('+'),
          answer.unlike === null ? '' : answer.unlike ? 'yes' : 'no',
          answer.kind,
          answer.model.digest ?? '',
          answer.warnings.join(' '),
          '',
        ]
      : [patient, ...empty, problem],
  );
  return [header, ...rows];
}
