import { Button } from 'antd';
import type { Model } from '../api/types';
import { formatCsv } from '../parts/csv';
import { sayProblemInLine } from '../parts/problem';
import { saveText } from '../parts/save';
import { answerRows, type Outcome } from '../result/rows';
import { useWords } from '../words/words';
import type { Row } from './useBatch';

/** The answers of a batch as files; patients without an answer stand there with the reason. */
export function SaveBatch({ model, rows }: { model: Model; rows: Row[] }) {
  const { words } = useWords();
  const outcomes = (): Outcome[] =>
    rows.map(({ patient, answer, error, state }) => ({
      patient: patient.id,
      answer,
      problem: state === 'done' ? '' : error === null ? state : sayProblemInLine(error, words),
    }));
  return (
    <>
      <Button
        type="primary"
        onClick={() => {
          saveText('answers.csv', formatCsv(answerRows(outcomes(), model.classes, model.modalities)), 'text/csv');
        }}
      >
        {words.batch.csv}
      </Button>
      <Button
        onClick={() => {
          const answers = outcomes().map(({ patient, answer, problem }) =>
            answer ? { patient_id: patient, ...answer } : { patient_id: patient, problem },
          );
          saveText('answers.json', `${JSON.stringify(answers, null, 2)}\n`, 'application/json');
        }}
      >
        {words.batch.json}
      </Button>
    </>
  );
}
