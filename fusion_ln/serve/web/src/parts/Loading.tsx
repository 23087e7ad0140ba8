import { useWords } from '../words/words';

/** A quiet sign that something is on its way. */
export function Loading({ label }: { label?: string }) {
  const { words } = useWords();
  return (
    <p className="loading" role="status">
      <span className="spinner" aria-hidden="true" />
      {label ?? words.loading}
    </p>
  );
}
