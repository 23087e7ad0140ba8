import { useEffect, useState } from 'react';

export type Loaded<T> = { state: 'loading' } | { state: 'ready'; value: T } | { state: 'failed'; error: unknown };

/** Ask once, and again when `again` is called. */
export function useLoaded<T>(ask: () => Promise<T>): { loaded: Loaded<T>; again: () => void } {
  const [loaded, setLoaded] = useState<Loaded<T>>({ state: 'loading' });
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    let current = true;
    ask().then(
      (value) => {
        if (current) setLoaded({ state: 'ready', value });
      },
      (error: unknown) => {
        if (current) setLoaded({ state: 'failed', error });
      },
    );
    return () => {
      current = false;
    };
  }, [ask, asked]);
  const again = (): void => {
    setLoaded({ state: 'loading' });
    setAsked(asked + 1);
  };
  return { loaded, again };
}
