import { useRef, useState } from 'react';
import { isLocked, patientForm } from '../api/client';
import { server } from '../api/server';
import type { Answer } from '../api/types';
import type { Batch, BatchPatient, Unused } from './group';

export type RowState = 'waiting' | 'asking' | 'done' | 'failed' | 'cancelled';

export interface Row {
  patient: BatchPatient;
  state: RowState;
  answer: Answer | null;
  error: unknown;
}

const AT_ONCE = 2;
const TRIES = 6; // of a busy server, a patient

export interface BatchRun {
  rows: Row[];
  /** Files that no patient got; null before anything was given. */
  unused: Unused[] | null;
  running: boolean;
  /** Seconds that a busy server asked us to wait. */
  wait: number | null;
  prepare: (batch: Batch) => void;
  /** Ask about all patients that have no answer yet. */
  start: () => void;
  cancel: () => void;
}

/** Asks about one patient after the other, two at once. */
export function useBatch(): BatchRun {
  const [rows, setRows] = useState<Row[]>([]);
  const [unused, setUnused] = useState<Unused[] | null>(null);
  const [running, setRunning] = useState(false);
  const [wait, setWait] = useState<number | null>(null);
  const control = useRef<AbortController | null>(null);

  const prepare = ({ patients, unused: left }: Batch): void => {
    control.current?.abort();
    control.current = null; // what an earlier run still says is of other patients
    setRunning(false);
    setWait(null);
    setUnused(left);
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
    const tellWait = (seconds: number | null): void => {
      if (isCurrent()) setWait(seconds);
    };
    const left = rows.flatMap((row, place) => (row.state === 'done' ? [] : [{ place, patient: row.patient }])).reverse();
    const work = async (): Promise<void> => {
      for (let next = left.pop(); next && !stopped(); next = left.pop()) {
        const { place, patient } = next;
        set(place, { state: 'asking', error: null });
        try {
          const form = patientForm(patient.pictures, patient.clinical);
          const answer = await server.predict(form, { signal: own.signal, onWait: tellWait, tries: TRIES });
          tellWait(null);
          set(place, { state: 'done', answer });
        } catch (error) {
          set(place, stopped() ? { state: 'cancelled' } : { state: 'failed', error });
          if (isLocked(error)) own.abort(); // the others would be refused, too
        }
      }
    };
    setRunning(true);
    setRows((held) => held.map((row) => (row.state === 'done' ? row : { ...row, state: 'waiting', error: null })));
    void Promise.all(Array.from({ length: AT_ONCE }, work)).then(() => {
      if (!isCurrent()) return;
      setRunning(false);
      setWait(null);
      setRows((held) => held.map((row) => (row.state === 'waiting' ? { ...row, state: 'cancelled' } : row)));
    });
  };

  return { rows, unused, running, wait, prepare, start, cancel: () => control.current?.abort() };
}
