import { server } from '../api/server';
import { Loading } from '../parts/Loading';
import { ProblemNote } from '../parts/ProblemNote';
import { useLoaded } from '../parts/load';
import { useWords } from '../words/words';
import { CountBars } from './CountBars';
import { Facts } from './Facts';
import type { Model } from '../api/types';
import '../style/about.css';

/** The patients that the model learnt from, in numbers. */
export default function CohortPage({ model }: { model: Model }) {
  const { words, number } = useWords();
  const w = words.cohort;
  const { loaded, again } = useLoaded(server.cohort);
  return (
    <>
      <div className="page-head">
        <h1>{w.title}</h1>
        <p className="lead">{w.lead}</p>
      </div>
      {loaded.state === 'loading' && <Loading />}
      {loaded.state === 'failed' && <ProblemNote error={loaded.error} onAgain={again} />}
      {loaded.state === 'ready' && (
        <div className="about">
          <section className="card">
            <h2 lang="en">{loaded.value.name}</h2>
            <Facts
              rows={[
                [words.model.licence, <span key="licence" lang="en">{loaded.value.licence}</span>],
                [w.folds, number(loaded.value.folds)],
                [w.kind, loaded.value.simulated ? words.simulated : w.real],
              ]}
            />
            <h3>{w.links}</h3>
            <ul className="links" lang="en">
              {[...loaded.value.code, ...loaded.value.data_sets].map((link) => (
                <li key={link.url}>
                  <a href={link.url} rel="noreferrer">
                    {link.title}
                  </a>
                  {link.licence && <span className="dim small">{link.licence}</span>}
                </li>
              ))}
            </ul>
          </section>
          <div className="about-side">
            <section className="card">
              <h2>{w.patients}</h2>
              <CountBars counts={loaded.value.patients} titles={model.class_titles} />
            </section>
            {Object.keys(loaded.value.pictures).length > 0 && (
              <section className="card">
                <h2>{w.pictures}</h2>
                <CountBars counts={loaded.value.pictures} titles={model.modality_titles} />
              </section>
            )}
          </div>
        </div>
      )}
    </>
  );
}
