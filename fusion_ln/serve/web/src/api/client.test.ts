import { afterEach, expect, it, vi } from 'vitest';
import { isLocked, whenLocked } from './client';
import { server } from './server';

afterEach(() => {
  vi.unstubAllGlobals();
});

it('tells when the server wants its token, but not when a token is wrong', async () => {
  vi.stubGlobal('fetch', () => Promise.resolve(new Response('{"detail": "No token."}', { status: 401 })));
  let told = 0;
  const end = whenLocked(() => {
    told += 1;
  });
  expect(isLocked(await server.models().catch((error: unknown) => error))).toBe(true);
  expect(told).toBe(1);
  await expect(server.session()).rejects.toThrow('No token.');
  expect(told).toBe(1);
  end();
  await expect(server.models()).rejects.toThrow('No token.');
  expect(told).toBe(1);
});
