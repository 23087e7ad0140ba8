import { Button } from 'antd';
import { useWords } from '../words/words';
import { Coded } from './Coded';
import { Note } from './Note';
import { sayProblem } from './problem';

/** A refusal with its way out and, beneath, the server's own words where they are of another language. */
export function ProblemNote({ error, onAgain }: { error: unknown; onAgain?: (() => void) | undefined }) {
  const { words } = useWords();
  const { title, way, original } = sayProblem(error, words);
  return (
    <Note kind="bad" alert title={title}>
      <p>
        <Coded>{way}</Coded>
      </p>
      {original && (
        <p className="dim small" lang="en">
          <Coded>{original}</Coded>
        </p>
      )}
      {onAgain && <Button onClick={onAgain}>{words.tryAgain}</Button>}
    </Note>
  );
}
