import { useRef, useState } from 'react';
import { patientForm, Problem, server } from '../api/client';
import type { Answer } from '../api/types';
import type { BatchPatient } from './group';

export type RowState = 'waiting' | 'asking' | 'done' | 'failed' | 'cancelled';

export interface Row {
  patient: BatchPatient;
  state: RowState;
  answer: Answer | null;
  error: unknown;
}

const AT_ONCE = 2;
const TRIES = 6; // of a busy server, a patient

interface BatchRun {
  rows: Row[];
  running: boolean;
  /** Seconds that a busy server asked us to wait. */
  wait: number | null;
  prepare: (patients: BatchPatient[]) => void;
  start: () => void;
  cancel: () => void;
}

/** Asks about one patient after the other, two at once. */
export function useBatch(): BatchRun {
  const [rows, setRows] = useState<Row[]>([]);
  const [running, setRunning] = useState(false);
  const [wait, setWait] = useState<number | null>(null);
  const control = useRef<AbortController | null>(null);

  const prepare = (patients: BatchPatient[]): void => {
    control.current?.abort();
    setRows(patients.map((patient) => ({ patient, state: 'waiting', answer: null, error: null })));
  };

  const start = (): void => {
    const own = new AbortController();
    control.current = own;
    const stopped = (): boolean => own.signal.aborted;
    const isCurrent = (): boolean => control.current === own;
    const set = (place: number, change: Partial<Row>): void => {
      if (isCurrent()) setRows((held) => held.map((row, n) => (n === place ? { ...row, ...change } : row)));
    };
    const left = rows.flatMap((row, place) => (row.state === 'done' ? [] : [{ place, patient: row.patient }])).reverse();
    const work = async (): Promise<void> => {
      for (let next = left.pop(); next && !stopped(); next = left.pop()) {
        const { place, patient } = next;
        set(place, { state: 'asking', error: null });
        try {
          const form = patientForm(patient.pictures, patient.clinical);
          const answer = await server.predict(form, { signal: own.signal, onWait: setWait, tries: TRIES });
          setWait(null);
          set(place, { state: 'done', answer });
        } catch (error) {
          set(place, stopped() ? { state: 'cancelled' } : { state: 'failed', error });
        }
      }
    };
    setRunning(true);
    void Promise.all(Array.from({ length: AT_ONCE }, work)).then(() => {
      if (!isCurrent()) return;
      setRunning(false);
      setWait(null);
      setRows((held) => held.map((row) => (row.state === 'waiting' ? { ...row, state: 'cancelled' } : row)));
    });
  };

  return { rows, running, wait, prepare, start, cancel: () => control.current?.abort() };
}

/** A refusal in one line. */
export function describeError(error: unknown, unreachable: string): string {
  if (error === null) return '';
  return error instanceof Problem && error.status > 0 ? `${error.detail} ${error.wayOut}`.trim() : unreachable;
}
