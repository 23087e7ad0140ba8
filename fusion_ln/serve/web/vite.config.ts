import { readFile, rename } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import type { Plugin } from 'vite';
import { transformWithOxc } from 'vite';
import { defineConfig } from 'vitest/config';

const FIRST_VIEW_KB = 260; // gzip; what the page loads before anything is shown

/** Refuse a bundle whose first view is too heavy; parts that are imported later do not count. */
function boundFirstView(): Plugin {
  return {
    name: 'bound-first-view',
    generateBundle(_, bundle) {
      const first = new Set<string>();
      const follow = (name: string): void => {
        const part = bundle[name];
        if (first.has(name) || part?.type !== 'chunk') return;
        first.add(name);
        part.imports.forEach(follow);
      };
      for (const part of Object.values(bundle)) if (part.type === 'chunk' && part.isEntry) follow(part.fileName);
      let bytes = 0;
      for (const part of Object.values(bundle)) {
        if (part.type === 'chunk' && first.has(part.fileName)) bytes += gzipSync(part.code).length;
        if (part.type === 'asset' && part.fileName.endsWith('.css')) bytes += gzipSync(part.source).length;
      }
      const kb = bytes / 1000;
      this.info(`first view: ${kb.toFixed(0)} kB gzip of ${String(FIRST_VIEW_KB)}`);
      if (kb > FIRST_VIEW_KB) this.error(`The first view takes ${kb.toFixed(0)} kB gzip: import parts of it later.`);
    },
  };
}

const STATIC = fileURLToPath(new URL('../static', import.meta.url));

/** Finish the page that answers by itself: the icon in its only document, the name that web spaces expect, and `offline.js`. */
function finishPage(): Plugin {
  return {
    name: 'finish-page',
    transformIndexHtml: {
      order: 'pre', // a browser asks for an icon again and again
      handler: async (html) => {
        const icon = await readFile(fileURLToPath(new URL('src/icon.svg', import.meta.url)), 'utf8');
        return html.replace('/src/icon.svg', `data:image/svg+xml,${encodeURIComponent(icon)}`);
      },
    },
    generateBundle: {
      handler: async function () {
        const path = fileURLToPath(new URL('src/local/offline.ts', import.meta.url));
        const { code } = await transformWithOxc(await readFile(path, 'utf8'), path);
        this.emitFile({ type: 'asset', fileName: 'offline.js', source: code }); // what it keeps, the export fills in
      },
    },
    writeBundle: () => rename(`${STATIC}/page/page.html`, `${STATIC}/page/index.html`),
  };
}

/** The page of a server or, in mode `page`, one that answers by itself from any folder: one chunk, fetched at once. */
export default defineConfig(({ mode }) => ({
  html: { cspNonce: '__NONCE__' }, // the server puts a fresh one into each answer, the export one into the folder
  server: { proxy: { '/api': 'http://127.0.0.1:8000' } },
  test: { environment: 'node', include: ['src/**/*.test.ts'] },
  ...(mode === 'page'
    ? {
        base: './',
        plugins: [react(), finishPage()],
        resolve: {
          alias: [{ find: /^(\.\.?\/)+api\/server$/, replacement: fileURLToPath(new URL('src/local/client.ts', import.meta.url)) }],
        },
        build: {
          outDir: '../static/page',
          emptyOutDir: true,
          assetsInlineLimit: 0,
          chunkSizeWarningLimit: 1500,
          cssCodeSplit: false,
          rolldownOptions: { input: 'page.html', output: { codeSplitting: false } },
        },
        worker: { format: 'es' as const },
      }
    : {
        plugins: [react(), boundFirstView()],
        build: { outDir: '../static', emptyOutDir: true, assetsInlineLimit: 0, chunkSizeWarningLimit: 900 },
      }),
}));
