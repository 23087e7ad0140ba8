import type { Evaluation, Model } from '../api/types';
import { server } from '../api/server';
import { CautionText } from '../parts/CautionText';
import { sayCautions } from '../parts/caution';
import { CountBars } from './CountBars';
import { Facts } from './Facts';
import { useWords } from '../words/words';
import '../style/about.css';

/** What answers, and where more of it stands. */
export default function ModelPage({ model }: { model: Model }) {
  const { words, title, percent } = useWords();
  const w = words.model;
  const pages = [
    { shown: model.has_facts, url: server.links.facts, title: w.facts, note: w.factsNote },
    { shown: true, url: model.has_report ? server.links.report : '', title: w.report, note: model.has_report ? w.reportNote : w.noReport },
    { shown: server.links.api !== '', url: server.links.api, title: w.api, note: w.apiNote },
  ].filter((page) => page.shown);
  return (
    <>
      <div className="page-head">
        <h1>{w.title}</h1>
        <p className="lead">{w.lead}</p>
      </div>
      <div className="about">
        <section className="card">
          <h2 lang="en">{model.title}</h2>
          <Facts
            rows={[
              [w.answer, w.answers[model.answer] ?? model.answer],
              [w.cohort, model.simulated ? `${model.cohort} (${words.simulated})` : model.cohort],
              [w.takes, model.modalities.map((name) => title(name, model.modality_titles)).concat(model.clinical).join(words.list)],
              [w.coverage, w.coverageNote(percent(model.coverage))],
              [w.methods, model.methods.map((each) => (each.trusted ? `${each.title} (${words.maps.trusted})` : each.title)).join(words.list)],
              [w.tests, <Evaluations key="tests" of={model.evaluations} />],
              [w.licence, <span key="licence" lang="en">{model.licence}</span>],
              [words.result.digest, model.digest && <code key="digest">{model.digest}</code>],
            ]}
          />
          {model.warnings.length > 0 && (
            <ul className="about-warnings">
              {sayCautions(model, words).map((each) => (
                <li key={each.text}>
                  <CautionText {...each} />
                </li>
              ))}
            </ul>
          )}
        </section>
        <div className="about-side">
          <section className="card">
            <h2>{w.classes}</h2>
            <CountBars counts={model.patients} titles={model.class_titles} />
          </section>
          <section className="card">
            <h2>{w.pages}</h2>
            <ul className="links">
              {pages.map((page) => (
                <li key={page.title}>
                  {page.url ? (
                    <a href={page.url} target="_blank" rel="noreferrer">
                      {page.title}
                    </a>
                  ) : (
                    <span>{page.title}</span>
                  )}
                  <span className="dim small">{page.note}</span>
                </li>
              ))}
            </ul>
          </section>
        </div>
      </div>
    </>
  );
}

/** The other cohorts that the model was tested on, by its log. */
function Evaluations({ of }: { of: Evaluation[] }) {
  const w = useWords().words.model;
  if (of.length === 0) return <span className="dim">{w.untested}</span>;
  return (
    <ul>
      {of.map((each, place) => (
        <li key={place}>
          {w.test(each.cohort, each.patients, each.date)}
          {!each.labels && <span className="dim"> ({w.withoutLabels})</span>}
        </li>
      ))}
    </ul>
  );
}
