import { ConfigProvider } from 'antd';
import { lazy, Suspense, useEffect, useState } from 'react';
import { whenLocked } from './api/client';
import { server } from './api/server';
import type { Model } from './api/types';
import { useBatch, type BatchRun } from './batch/useBatch';
import { Loading } from './parts/Loading';
import { useLoaded } from './parts/load';
import { Note } from './parts/Note';
import { ProblemNote } from './parts/ProblemNote';
import { PatientPage } from './patient/PatientPage';
import { usePatient, type Patient } from './patient/usePatient';
import { Fetched } from './shell/Fetched';
import { Header } from './shell/Header';
import { usePage } from './shell/route';
import { antTheme, useAppearance } from './shell/theme';
import { TokenForm } from './shell/TokenForm';
import { useWords } from './words/words';

const BatchPage = lazy(() => import('./batch/BatchPage'));
const ModelPage = lazy(() => import('./about/ModelPage'));
const CohortPage = lazy(() => import('./about/CohortPage'));

const nonce = document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]')?.nonce ?? '';

/** What the server has for this browser: a model, or the wish for a token. */
async function enter(): Promise<Model | null> {
  const session = await server.session();
  if (session.needed && !session.open) return null;
  const [model] = await server.models();
  if (!model) throw new Error('no model');
  return model;
}

export function App() {
  const { words } = useWords();
  const { appearance, dark, choose } = useAppearance();
  const { loaded, again } = useLoaded(enter);
  const [locked, setLocked] = useState(false);
  const patient = usePatient(); // here, so that neither another page nor the token form loses an answer
  const batch = useBatch();
  const model = loaded.state === 'ready' && !locked ? loaded.value : null;
  useEffect(
    () =>
      whenLocked(() => {
        setLocked(true);
      }),
    [],
  );
  const enterAgain = (): void => {
    setLocked(false);
    again();
  };
  return (
    <ConfigProvider csp={{ nonce }} theme={antTheme(dark)} wave={{ disabled: true }}>
      <a className="skip" href="#content" onClick={toContent}>
        {words.skip}
      </a>
      <header>
        <Header appearance={appearance} onAppearance={choose} pages={model !== null} />
        <p className="device">{words.device}</p>
        <Fetched />
      </header>
      <main id="content" tabIndex={-1}>
        {loaded.state === 'loading' && <Loading />}
        {loaded.state === 'failed' && !locked && (
          <>
            <h1>fusion_ln</h1>
            <ProblemNote error={loaded.error} onAgain={again} />
          </>
        )}
        {model && <Pages model={model} patient={patient} batch={batch} />}
        {loaded.state !== 'loading' && (locked || (loaded.state === 'ready' && !model)) && <TokenForm onOpen={enterAgain} />}
      </main>
    </ConfigProvider>
  );
}

/** Move to the content without leaving the page that the address names. */
function toContent(event: React.MouseEvent): void {
  event.preventDefault();
  document.getElementById('content')?.focus();
}

interface PagesProps {
  model: Model;
  patient: Patient;
  batch: BatchRun;
}

function Pages({ model, patient, batch }: PagesProps) {
  const page = usePage();
  const { words } = useWords();
  const [shown, setShown] = useState(page);
  useEffect(() => {
    document.title = page ? `${words[page].title} · fusion_ln` : 'fusion_ln';
  }, [page, words]);
  if (shown !== page) {
    setShown(page);
    window.scrollTo(0, 0);
  }
  return (
    <>
      {model.simulated && (
        <div className="simulated">
          <Note kind="plain" title={words.simulatedNote} />
        </div>
      )}
      <Suspense fallback={<Loading />}>
        {page === 'patient' && <PatientPage model={model} patient={patient} />}
        {page === 'batch' && <BatchPage model={model} batch={batch} />}
        {page === 'model' && <ModelPage model={model} />}
        {page === 'cohort' && <CohortPage model={model} />}
        {page === null && <h1>{words.notFound}</h1>}
      </Suspense>
    </>
  );
}
