import type { Model } from '../api/types';
import { useWords } from '../words/words';

/** How patients are recognised among files. */
export function Layouts({ model }: { model: Model }) {
  const { words } = useWords();
  const first = model.modalities[0] ?? '2d';
  const w = words.batch;
  return (
    <details className="layouts">
      <summary>{w.layouts}</summary>
      <ul>
        {[
          w.layoutTable([...model.modalities, ...model.clinical].join(',')),
          w.layoutRows,
          w.layoutFolders(first),
          w.layoutNames(first),
          w.layoutModalities(first),
        ].map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
    </details>
  );
}
