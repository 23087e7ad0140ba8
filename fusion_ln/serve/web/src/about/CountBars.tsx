import { useWords } from '../words/words';

interface CountBarsProps {
  counts: Record<string, number>;
  titles: Record<string, string>;
}

/** Numbers by name, each as a bar of the largest. */
export function CountBars({ counts, titles }: CountBarsProps) {
  const { words, title, number } = useWords();
  const entries = Object.entries(counts);
  const largest = Math.max(1, ...entries.map(([, n]) => n));
  const sum = entries.reduce((total, [, n]) => total + n, 0);
  return (
    <>
      <ul className="bars">
        {entries.map(([name, n]) => (
          <li key={name} className="bar bar-in">
            <span className="bar-name">{title(name, titles)}</span>
            <span className="bar-track" aria-hidden="true">
              <span className="bar-fill" style={{ width: `${(100 * n) / largest}%` }} />
            </span>
            <span className="bar-value">{number(n)}</span>
          </li>
        ))}
      </ul>
      <p className="dim small">{words.cohort.total(sum)}</p>
    </>
  );
}
