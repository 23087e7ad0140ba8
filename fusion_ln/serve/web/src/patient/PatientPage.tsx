import { Button, Input } from 'antd';
import { server } from '../api/server';
import type { Model } from '../api/types';
import { Loading } from '../parts/Loading';
import { ProblemNote } from '../parts/ProblemNote';
import { ResultPanel } from '../result/ResultPanel';
import { useWords } from '../words/words';
import { Examples } from './Examples';
import { PictureDrop } from './PictureDrop';
import type { Patient } from './usePatient';

interface PatientPageProps {
  model: Model;
  patient: Patient;
}

export function PatientPage({ model, patient }: PatientPageProps) {
  const { words } = useWords();
  const { answer } = patient;
  return (
    <>
      <div className="page-head">
        <h1>{words.patient.title}</h1>
        <p className="lead">{words.patient.lead(model.modalities.length)}</p>
      </div>
      <div className="desk">
        <section className="card give" aria-label={words.patient.title}>
          <PictureDrop model={model} patient={patient} />
          {model.clinical.length > 0 && <Clinical columns={model.clinical} patient={patient} />}
          <AskRow patient={patient} keeps={model.keeps_uploads} />
        </section>
        <section className="answer" aria-label={words.result.title} aria-busy={answer.state === 'asking'}>
          {answer.state === 'idle' && (
            <div className="card empty">
              <p className="empty-title">{words.patient.empty}</p>
              <p className="dim">{words.patient.emptyHint}</p>
              {patient.pictures.length === 0 && <Examples model={model} onTake={patient.take} />}
            </div>
          )}
          {answer.state === 'asking' && (
            <div className="card empty">
              <Loading label={answer.wait === null ? words.patient.asking : words.busy(answer.wait)} />
            </div>
          )}
          {answer.state === 'failed' && <ProblemNote error={answer.error} onAgain={patient.ask} />}
          {answer.state === 'done' && <ResultPanel model={model} patient={patient} answer={answer.value} />}
        </section>
      </div>
    </>
  );
}

function Clinical({ columns, patient }: { columns: string[]; patient: Patient }) {
  const { words } = useWords();
  return (
    <fieldset className="clinical">
      <legend>{words.patient.clinical}</legend>
      {columns.map((column) => (
        <label key={column}>
          {column}
          <Input
            value={patient.clinical[column] ?? ''}
            onChange={(event) => {
              patient.note(column, event.target.value);
            }}
          />
        </label>
      ))}
    </fieldset>
  );
}

function AskRow({ patient, keeps }: { patient: Patient; keeps: boolean }) {
  const { words } = useWords();
  const asking = patient.answer.state === 'asking';
  return (
    <div className="ask">
      <Button type="primary" size="large" disabled={!patient.ready || asking} onClick={patient.ask}>
        {words.patient.ask}
      </Button>
      {asking && (
        <Button size="large" onClick={patient.cancel}>
          {words.cancel}
        </Button>
      )}
      {!asking && patient.pictures.length > 0 && (
        <Button size="large" type="text" onClick={patient.clear}>
          {words.patient.clear}
        </Button>
      )}
      <p className={keeps ? 'caution small' : 'dim small'}>{keeps ? words.patient.kept : server.fetching ? words.local.stays : words.patient.forgotten}</p>
    </div>
  );
}
