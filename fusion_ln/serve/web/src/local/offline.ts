/**
 * Service worker that keeps the files of a page, so that the page opens without network.
 *
 * The export fills in what is kept. A file whose name tells its content comes from what is kept; any other from the
 * network where there is one, so that a new export is seen at once.
 */

/** Digest of the whole page. */
declare const __EDITION__: string;
/** Digest of every file, as `sha256-...`, by its place in the folder; of the page itself under no name. */
declare const __KEPT__: Record<string, string>;

interface Extended extends Event {
  waitUntil: (work: Promise<unknown>) => void;
}
interface Asked extends Event {
  request: Request;
  respondWith: (answer: Promise<Response>) => void;
}
interface Scope {
  registration: { scope: string };
  skipWaiting: () => Promise<void>;
  clients: { claim: () => Promise<void> };
  addEventListener: ((kind: 'install' | 'activate', heard: (event: Extended) => void) => void) &
    ((kind: 'fetch', heard: (event: Asked) => void) => void);
}

const own = self as unknown as Scope;
const { scope } = own.registration;
const cached = `fusion_ln ${scope} `; // other pages of the same web space keep theirs
const NAMED_BY_CONTENT = /^(assets|model-[0-9a-f]+)\//;

own.addEventListener('install', (event) => {
  event.waitUntil(keepAll().then(own.skipWaiting.bind(own)));
});
own.addEventListener('activate', (event) => {
  event.waitUntil(dropOthers().then(own.clients.claim.bind(own.clients)));
});
own.addEventListener('fetch', (event) => {
  const { request } = event;
  const place = placeOf(request.url);
  if (request.method === 'GET' && place !== null) event.respondWith(answer(request, place));
});

/** Place of an address in the folder; null for what is not kept. */
function placeOf(address: string): string | null {
  const { origin, pathname } = new URL(address);
  const whole = origin + pathname;
  if (!whole.startsWith(scope)) return null;
  const place = whole.slice(scope.length).replace(/^index\.html$/, '');
  return Object.hasOwn(__KEPT__, place) ? place : null;
}

/** Keep every file of this edition, or none: one that was replaced in the meantime does not fit its digest. */
async function keepAll(): Promise<void> {
  const cache = await caches.open(cached + __EDITION__);
  try {
    await fill(cache);
  } catch (error) {
    await caches.delete(cached + __EDITION__);
    throw error;
  }
}

async function fill(cache: Cache): Promise<void> {
  for (const [place, integrity] of Object.entries(__KEPT__)) {
    const response = await fetch(scope + place, { cache: 'no-cache', integrity });
    if (!response.ok) throw new Error(`${place}: ${response.status}`);
    const { body, headers, redirected } = response; // what was redirected opens no page
    await cache.put(scope + place, redirected ? new Response(body, { headers }) : response);
  }
}

async function dropOthers(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(cached) && name !== cached + __EDITION__).map((name) => caches.delete(name)));
}

async function answer(request: Request, place: string): Promise<Response> {
  const cache = await caches.open(cached + __EDITION__);
  if (NAMED_BY_CONTENT.test(place)) return (await cache.match(scope + place)) ?? fetch(request);
  try {
    return await fetch(request);
  } catch (error) {
    const kept = await cache.match(scope + place);
    if (kept) return kept;
    throw error;
  }
}
