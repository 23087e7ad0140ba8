import type { Answer, Model } from '../api/types';
import { useWords } from '../words/words';
import { likeliest } from './sets';

/** What the model of each single modality says. */
export function Alone({ model, answer }: { model: Model; answer: Answer }) {
  const { words, title, percent } = useWords();
  const rows = model.modalities.flatMap((modality) => {
    const probabilities = answer.alone[modality];
    return probabilities ? [{ modality, probabilities, top: likeliest(probabilities) }] : [];
  });
  return (
    <section className="card" aria-labelledby="alone">
      <h3 id="alone">{words.result.alone}</h3>
      <p className="dim small">{words.result.aloneNote}</p>
      <table className="table alone">
        <thead>
          <tr>
            <th scope="col">{words.result.modality}</th>
            {model.classes.map((name) => (
              <th key={name} scope="col">
                {title(name, model.class_titles)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ modality, probabilities, top }) => (
            <tr key={modality}>
              <th scope="row">{title(modality, model.modality_titles)}</th>
              {model.classes.map((name) => (
                <td key={name} className={name === top ? 'top' : undefined}>
                  {percent(probabilities[name] ?? 0)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
