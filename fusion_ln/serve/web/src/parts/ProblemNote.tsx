import { Button } from 'antd';
import { Problem } from '../api/client';
import { useWords } from '../words/words';
import { Note } from './Note';

/** A refusal in the server's own words, which are English, with its way out. */
export function ProblemNote({ error, onAgain }: { error: unknown; onAgain?: (() => void) | undefined }) {
  const { words } = useWords();
  const problem = error instanceof Problem && error.status > 0 ? error : null;
  return (
    <Note kind="bad" alert title={problem ? <span lang="en">{problem.detail}</span> : words.unreachable}>
      {problem ? <p lang="en">{problem.wayOut}</p> : <p>{words.unreachableWay}</p>}
      {onAgain && <Button onClick={onAgain}>{words.tryAgain}</Button>}
    </Note>
  );
}
