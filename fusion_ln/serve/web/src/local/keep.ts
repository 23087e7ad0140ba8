/** Have this browser keep the page's files, and tell whether it does: the page then opens without network, too. */
export async function keep(base: string): Promise<boolean> {
  if (!('serviceWorker' in navigator)) return false; // an old browser, or neither https nor this machine
  try {
    const registration = await navigator.serviceWorker.register(new URL('offline.js', base));
    if (registration.active) await registration.update().catch(() => undefined); // another export, if there is a network
    const coming = registration.installing ?? registration.waiting;
    return coming ? await isActivated(coming) : registration.active !== null;
  } catch {
    return false; // as in private windows
  }
}

function isActivated(worker: ServiceWorker): Promise<boolean> {
  return new Promise((tell) => {
    const look = (): void => {
      if (worker.state === 'activated') tell(true);
      if (worker.state === 'redundant') tell(false); // some file does not fit its digest, or no space is left
    };
    worker.addEventListener('statechange', look);
    look();
  });
}
