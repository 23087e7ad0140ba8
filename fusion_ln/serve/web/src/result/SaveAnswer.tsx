import { Button } from 'antd';
import type { Answer, Model } from '../api/types';
import { formatCsv } from '../parts/csv';
import { saveText } from '../parts/save';
import { useWords } from '../words/words';
import { answerRows } from './rows';

/** The answer to take away: on paper, as JSON, as a table. */
export function SaveAnswer({ model, answer }: { model: Model; answer: Answer }) {
  const { words } = useWords();
  const table = (): string =>
    formatCsv(answerRows([{ patient: 'patient', answer, problem: '' }], model.classes, model.modalities));
  return (
    <section className="save" aria-label={words.result.download}>
      <div className="save-row">
        <Button
          onClick={() => {
            window.print();
          }}
        >
          {words.result.pdf}
        </Button>
        <Button
          onClick={() => {
            saveText('answer.json', `${JSON.stringify(answer, null, 2)}\n`, 'application/json');
          }}
        >
          JSON
        </Button>
        <Button
          onClick={() => {
            saveText('answer.csv', table(), 'text/csv');
          }}
        >
          CSV
        </Button>
      </div>
      <p className="dim small">
        {words.result.model}: <span lang="en">{answer.model.title}</span>
        {answer.model.digest && (
          <>
            {' · '}
            {words.result.digest}: <code>{answer.model.digest.slice(0, 16)}</code>
          </>
        )}
      </p>
    </section>
  );
}
