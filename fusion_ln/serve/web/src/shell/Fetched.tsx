import { useSyncExternalStore } from 'react';
import type { Client } from '../api/client';
import { server } from '../api/server';
import { ProblemNote } from '../parts/ProblemNote';
import { useWords } from '../words/words';

/** State of the model that a page fetches to answer by itself; nothing on the page of a server. */
export function Fetched() {
  return server.fetching && <Progress fetching={server.fetching} />;
}

function Progress({ fetching }: { fetching: NonNullable<Client['fetching']> }) {
  const { words, percent } = useWords();
  const { share, ready, kept, error } = useSyncExternalStore(fetching.follow, fetching.now);
  if (error !== null) {
    return (
      <div className="unfetched">
        <ProblemNote error={error} />
      </div>
    );
  }
  return (
    <p className="dim small fetched" role="status" data-ready={ready || undefined} data-kept={kept || undefined}>
      {kept ? words.local.kept : ready ? words.local.ready : words.local.fetching(percent(Math.min(1, share)))}
    </p>
  );
}
