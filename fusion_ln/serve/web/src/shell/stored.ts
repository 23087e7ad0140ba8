import { useCallback, useState } from 'react';

/** A choice that the browser remembers; where it may not, the choice lasts as long as the page. */
export function useStored(key: string): [string, (value: string) => void] {
  const [value, setValue] = useState(() => read(key));
  const store = useCallback(
    (next: string) => {
      setValue(next);
      try {
        localStorage.setItem(key, next);
      } catch {
        // storage is switched off
      }
    },
    [key],
  );
  return [value, store];
}

function read(key: string): string {
  try {
    return localStorage.getItem(key) ?? '';
  } catch {
    return '';
  }
}
