import type { Answer, Model } from '../api/types';
import { useWords } from '../words/words';
import { startOf } from './sets';

/** What each picture adds to the probability of the likeliest class, to either side of nothing. */
export function Contributions({ model, answer }: { model: Model; answer: Answer }) {
  const { words, title, percent, points } = useWords();
  const { name, start, end } = startOf(answer);
  const parts = answer.modalities.map((modality) => [modality, answer.contributions[modality] ?? 0] as const);
  const largest = Math.max(0.05, ...parts.map(([, part]) => Math.abs(part)));
  return (
    <section className="card" aria-labelledby="adds">
      <h3 id="adds">{words.result.adds}</h3>
      <p className="dim small">
        {words.result.addsNote(title(name, model.class_titles), percent(start), percent(end))}
      </p>
      <ul className="adds">
        {parts.map(([modality, part]) => {
          const width = `${(50 * Math.abs(part)) / largest}%`;
          const style = part < 0 ? { width, right: '50%' } : { width, left: '50%' };
          return (
            <li key={modality}>
              <span>{title(modality, model.modality_titles)}</span>
              <span className="adds-track" aria-hidden="true">
                <span className={part < 0 ? 'adds-fill adds-less' : 'adds-fill'} style={style} />
              </span>
              <span className="bar-value">{words.result.points(points(part))}</span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
