import { Button, Input } from 'antd';
import { useState } from 'react';
import { isLocked } from '../api/client';
import { server } from '../api/server';
import { Note } from '../parts/Note';
import { ProblemNote } from '../parts/ProblemNote';
import { useWords } from '../words/words';

/** The question for the server's token, before anything else. */
export function TokenForm({ onOpen }: { onOpen: () => void }) {
  const { words } = useWords();
  const [token, setToken] = useState('');
  const [asking, setAsking] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const send = async (): Promise<void> => {
    setAsking(true);
    setError(null);
    try {
      await server.open(token.trim());
      onOpen();
    } catch (refusal) {
      setError(refusal);
    } finally {
      setAsking(false);
    }
  };
  const wrong = isLocked(error);
  return (
    <form
      className="card token"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <h1>{words.token.title}</h1>
      <p className="dim">{words.token.hint}</p>
      <label htmlFor="token">{words.token.label}</label>
      <Input.Password
        id="token"
        autoComplete="current-password"
        value={token}
        visibilityToggle={false}
        status={wrong ? 'error' : ''}
        onChange={(event) => {
          setToken(event.target.value);
        }}
      />
      <Button type="primary" htmlType="submit" loading={asking} disabled={!token.trim()}>
        {words.token.open}
      </Button>
      {wrong && <Note kind="bad" alert title={words.token.wrong} />}
      {error !== null && !wrong && <ProblemNote error={error} />}
    </form>
  );
}
