import { describe, expect, it } from 'vitest';
import type { PictureInfo } from '../api/types';
import { askable, change, type Change, type Picture } from './pictures';

const file = new File(['x'], 'x.png');

function read(id: number, modality: string | null): Change {
  const info: PictureInfo = { modality, width: 1, height: 1, preview: '', warnings: [], warning_codes: [] };
  return { kind: 'read', id, info };
}

function add(id: number, modality: string | null = null): Change {
  return { kind: 'add', picture: { id, file, modality } };
}

function after(...changes: Change[]): Picture[] {
  return changes.reduce(change, []);
}

function places(pictures: Picture[]): Record<number, string | null> {
  return Object.fromEntries(pictures.map((p) => [p.id, p.modality]));
}

describe('guesses', () => {
  it('put a picture where its colours suggest', () => {
    expect(places(after(add(1), add(2), read(2, 'cdfi'), read(1, '2d')))).toEqual({ 1: '2d', 2: 'cdfi' });
  });

  it('never take a place that is taken', () => {
    expect(places(after(add(1), add(2), read(1, '2d'), read(2, '2d')))).toEqual({ 1: '2d', 2: null });
  });

  it('never overrule a choice by hand', () => {
    const [picture] = after(add(1, 'elastic'), read(1, '2d'));
    expect(picture).toMatchObject({ modality: 'elastic', guess: '2d', guessed: false });
  });
});

it('changes places when a picture is moved to a taken one', () => {
  const moved = after(add(1, '2d'), add(2, 'cdfi'), { kind: 'move', id: 1, modality: 'cdfi' });
  expect(places(moved)).toEqual({ 1: 'cdfi', 2: '2d' });
});

it('replaces the picture of a modality that is dropped on', () => {
  expect(places(after(add(1, '2d'), add(2, '2d')))).toEqual({ 2: '2d' });
});

it('asks only once every picture is read and placed', () => {
  expect(askable([])).toBeNull();
  expect(askable(after(add(1, '2d')))).toBeNull();
  expect(askable(after(add(1, '2d'), read(1, null), add(2), read(2, null)))).toBeNull();
  expect(askable(after(add(1, '2d'), read(1, null)))).toEqual({ '2d': file });
});
