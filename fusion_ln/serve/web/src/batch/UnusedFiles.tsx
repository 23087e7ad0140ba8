import { Note } from '../parts/Note';
import { useWords } from '../words/words';
import type { Unused } from './group';

const SHOWN = 100;

/** Files that no patient gets, each with its reason. */
export function UnusedFiles({ unused }: { unused: Unused[] }) {
  const { words } = useWords();
  return (
    <Note kind="warn" title={words.batch.unused(unused.length)}>
      <ul className="unused">
        {unused.slice(0, SHOWN).map(({ path, reason }, n) => (
          <li key={`${n}-${path}`}>
            <code>{path}</code> {words.batch.reasons[reason]}
          </li>
        ))}
        {unused.length > SHOWN && <li>…</li>}
      </ul>
    </Note>
  );
}
