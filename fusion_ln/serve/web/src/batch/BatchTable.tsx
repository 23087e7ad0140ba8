import type { Model } from '../api/types';
import { likeliest } from '../result/sets';
import { sayProblemInLine } from '../parts/problem';
import { useWords } from '../words/words';
import type { Row } from './useBatch';

/** The patients of a batch, with their answers as they come. */
export function BatchTable({ model, rows }: { model: Model; rows: Row[] }) {
  const { words } = useWords();
  const w = words.batch;
  return (
    <section className="card batch-table" aria-label={w.table} tabIndex={0}>
      <table className="table">
        <thead>
          <tr>
            {[w.patient, w.given, w.likeliest, w.set, w.state].map((column) => (
              <th key={column} scope="col">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <PatientRow key={row.patient.id} model={model} row={row} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function PatientRow({ model, row }: { model: Model; row: Row }) {
  const { words, title, percent } = useWords();
  const { patient, answer, error, state } = row;
  const name = (each: string): string => title(each, model.class_titles);
  const given = model.modalities.filter((modality) => modality in patient.pictures);
  const top = answer ? likeliest(answer.probabilities) : '';
  return (
    <tr>
      <th scope="row">{patient.id}</th>
      <td>{given.map((modality) => title(modality, model.modality_titles)).join(words.list)}</td>
      <td>{answer && `${name(top)} ${percent(answer.probabilities[top] ?? 0)}`}</td>
      <td>{answer && (answer.set.map(name).join(words.list) || '–')}</td>
      <td>
        <span className={`state-${state}`}>{words.batch.states[state]}</span>
        {answer?.unlike && <span className="caution small"> {words.batch.outside}</span>}
        {error !== null && (
          <span className="bad small"> {sayProblemInLine(error, words)}</span>
        )}
      </td>
    </tr>
  );
}
