import { Button } from 'antd';
import { useMemo } from 'react';
import type { Answer, Model } from '../api/types';
import { formatCsv } from '../parts/csv';
import { saveText } from '../parts/save';
import type { Picture } from '../patient/pictures';
import { useWords } from '../words/words';
import { answerRows } from './rows';

interface SaveAnswerProps {
  model: Model;
  answer: Answer;
  pictures: Picture[];
}

/** The answer to take away: on paper, as JSON, as a table. */
export function SaveAnswer({ model, answer, pictures }: SaveAnswerProps) {
  const { words, moment } = useWords();
  const answered = useMemo(() => ({ answer, at: new Date() }), [answer]);
  const used = pictures.filter(({ modality }) => modality !== null && answer.modalities.includes(modality));
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
        {' · '}
        {words.result.engine}: <span lang="en">{`${answer.engine.name} ${answer.engine.version}`}</span>
      </p>
      <p className="dim small on-paper">
        {words.result.asked(moment(answered.at), used.map(({ file }) => file.name).join(', '))}
      </p>
    </section>
  );
}
