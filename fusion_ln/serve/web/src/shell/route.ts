import { useSyncExternalStore } from 'react';

export const PAGES = ['patient', 'batch', 'model', 'cohort'] as const;
export type Page = (typeof PAGES)[number];

export function href(page: Page): string {
  return page === 'patient' ? '#/' : `#/${page}`;
}

/** Page that an address names; null for one that is none. */
export function pageOf(hash: string): Page | null {
  const name = hash.replace(/^#?\/?/, '') || 'patient';
  return PAGES.find((page) => page === name) ?? null;
}

function follow(onChange: () => void): () => void {
  window.addEventListener('hashchange', onChange);
  return () => {
    window.removeEventListener('hashchange', onChange);
  };
}

export function usePage(): Page | null {
  return pageOf(useSyncExternalStore(follow, () => window.location.hash));
}
