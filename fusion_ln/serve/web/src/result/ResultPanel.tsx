import { server } from '../api/server';
import type { Answer, Model } from '../api/types';
import { CautionText } from '../parts/CautionText';
import { sayCautions } from '../parts/caution';
import { Note } from '../parts/Note';
import type { Patient } from '../patient/usePatient';
import { useWords } from '../words/words';
import { Alone } from './Alone';
import { Contributions } from './Contributions';
import { Maps } from './Maps';
import { Probabilities } from './Probabilities';
import { SaveAnswer } from './SaveAnswer';
import { describeSet, likeliest } from './sets';

/** What the page says of itself, in the reader's language. */
const SHOWN_ANYWAY = new Set([
  'Research software and no medical device: never for a diagnosis.',
  'It was trained on simulated patients: it says nothing about real ones.',
  'This page does not check whether a picture is one that the model was trained on.',
]);

interface ResultPanelProps {
  model: Model;
  patient: Patient;
  answer: Answer;
}

/** The answer about a patient, from what matters most to what explains it. */
export function ResultPanel({ model, patient, answer }: ResultPanelProps) {
  const { words, title, percent } = useWords();
  const name = (each: string): string => title(each, model.class_titles);
  const warnings = sayCautions(answer, words).filter(({ text }) => !SHOWN_ANYWAY.has(text));
  return (
    <div className="result">
      <div className="card verdict">
        {answer.unlike && (
          <Note kind="bad" alert title={words.result.unlike}>
            <p>{words.result.unlikeNote}</p>
          </Note>
        )}
        <h2 className="sr">{words.result.title}</h2>
        <p className="verdict-text" role="status">
          {describeSet(answer.set, model.classes, name, words)}
        </p>
        {answer.set.length > 0 && <p className="dim small">{words.result.setNote(percent(model.coverage))}</p>}
        <Probabilities model={model} answer={answer} />
        {answer.unlike === null && <p className="dim small">{words.result.unlikeUnknown}</p>}
        {server.fetching && <p className="dim small">{words.local.unchecked}</p>}
        {warnings.length > 0 && (
          <Note kind="warn" title={words.result.warnings}>
            <ul>
              {warnings.map((each) => (
                <li key={each.text}>
                  <CautionText {...each} />
                </li>
              ))}
            </ul>
          </Note>
        )}
      </div>
      <Maps model={model} explanation={patient.explanation} target={name(likeliest(answer.probabilities))} patient={patient} />
      <div className="pair">
        <Contributions model={model} answer={answer} />
        {Object.keys(answer.alone).length > 0 && <Alone model={model} answer={answer} />}
      </div>
      <SaveAnswer model={model} answer={answer} pictures={patient.pictures} />
    </div>
  );
}
