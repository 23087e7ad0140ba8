import type { Answer, Model } from '../api/types';
import { useWords } from '../words/words';

/** Calibrated probability of each class as a bar; classes that remain possible stand out. */
export function Probabilities({ model, answer }: { model: Model; answer: Answer }) {
  const { words, title, percent } = useWords();
  return (
    <div className="bars-block">
      <h3>{words.result.probabilities}</h3>
      <ul className="bars">
        {model.classes.map((name) => {
          const share = answer.probabilities[name] ?? 0;
          const possible = answer.set.includes(name);
          return (
            <li key={name} className={possible ? 'bar bar-in' : 'bar'}>
              <span className="bar-name">
                {title(name, model.class_titles)}
                {possible && <span className="tag">{words.result.inSet}</span>}
              </span>
              <span className="bar-track" aria-hidden="true">
                <span className="bar-fill" style={{ width: `${100 * share}%` }} />
              </span>
              <span className="bar-value">{percent(share)}</span>
            </li>
          );
        })}
      </ul>
      <p className="dim small">{words.result.calibrated}</p>
    </div>
  );
}
