import { useCallback, useReducer, useRef, useState } from 'react';
import { patientForm } from '../api/client';
import { server } from '../api/server';
import type { Answer, Example, Explanation } from '../api/types';
import { askable, change, type Picture } from './pictures';

export type Asked<T> =
  | { state: 'idle' }
  | { state: 'asking'; wait: number | null }
  | { state: 'done'; value: T }
  | { state: 'failed'; error: unknown };

const IDLE = { state: 'idle' } as const;

export interface Patient {
  pictures: Picture[];
  clinical: Record<string, string>;
  answer: Asked<Answer>;
  explanation: Asked<Explanation>;
  ready: boolean;
  add: (files: File[], modality?: string) => void;
  move: (id: number, modality: string | null) => void;
  remove: (id: number) => void;
  note: (column: string, value: string) => void;
  clear: () => void;
  take: (example: Example) => Promise<void>;
  ask: () => void;
  explain: () => void;
  cancel: () => void;
}

/** A patient's pictures, and what the model answers about them. */
export function usePatient(): Patient {
  const [pictures, dispatch] = useReducer(change, []);
  const [clinical, setClinical] = useState<Record<string, string>>({});
  const [answer, setAnswer] = useState<Asked<Answer>>(IDLE);
  const [explanation, setExplanation] = useState<Asked<Explanation>>(IDLE);
  const next = useRef(0);
  const running = useRef<AbortController | null>(null);
  const files = askable(pictures);

  const forget = useCallback(() => {
    running.current?.abort();
    running.current = null;
    setAnswer(IDLE);
    setExplanation(IDLE);
  }, []);

  const add = (given: File[], modality: string | null = null): void => {
    forget();
    for (const file of modality === null ? given : given.slice(0, 1)) {
      const id = (next.current += 1);
      dispatch({ kind: 'add', picture: { id, file, modality } });
      server.picture(file).then(
        (info) => {
          dispatch({ kind: 'read', id, info });
        },
        (error: unknown) => {
          dispatch({ kind: 'refused', id, error });
        },
      );
    }
  };

  /** Ask the server one thing; a later question, or a change of the pictures, ends an earlier one. */
  const run = async <T>(
    question: typeof server.predict | typeof server.explain,
    show: (asked: Asked<T>) => void,
  ): Promise<boolean> => {
    if (files === null) return false;
    running.current?.abort();
    const own = new AbortController();
    running.current = own;
    const tell = (asked: Asked<T>): void => {
      if (running.current === own) show(asked);
    };
    tell({ state: 'asking', wait: null });
    try {
      const onWait = (wait: number): void => {
        tell({ state: 'asking', wait });
      };
      const value = (await question(patientForm(files, clinical), { signal: own.signal, onWait })) as T;
      tell({ state: 'done', value });
      return running.current === own;
    } catch (error) {
      tell(own.signal.aborted ? IDLE : { state: 'failed', error });
      return false;
    }
  };
  const explain = (): void => void run(server.explain, setExplanation);
  const ask = (): void => {
    setExplanation(IDLE);
    void run(server.predict, setAnswer).then((answered) => {
      if (answered) explain();
    });
  };
  const cancel = (): void => {
    running.current?.abort();
  };

  return {
    pictures,
    clinical,
    answer,
    explanation,
    ready: files !== null,
    add,
    move: (id, modality) => {
      forget();
      dispatch({ kind: 'move', id, modality });
    },
    remove: (id) => {
      forget();
      dispatch({ kind: 'remove', id });
    },
    note: (column, value) => {
      forget();
      setClinical((held) => ({ ...held, [column]: value }));
    },
    clear: () => {
      forget();
      setClinical({});
      dispatch({ kind: 'clear' });
    },
    take: async (example) => {
      const taken = Object.entries(example.pictures).map(
        async ([modality, url]) => [modality, await server.file(url, `${example.name}-${modality}.png`)] as const,
      );
      const found = await Promise.all(taken);
      forget();
      dispatch({ kind: 'clear' });
      for (const [modality, file] of found) add([file], modality);
    },
    ask,
    explain,
    cancel,
  };
}
