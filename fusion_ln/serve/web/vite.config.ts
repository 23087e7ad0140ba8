import { gzipSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import type { Plugin } from 'vite';
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

export default defineConfig({
  plugins: [react(), boundFirstView()],
  build: { outDir: '../static', emptyOutDir: true, assetsInlineLimit: 0, chunkSizeWarningLimit: 900 },
  html: { cspNonce: '__NONCE__' }, // the server puts a fresh one into each answer
  server: { proxy: { '/api': 'http://127.0.0.1:8000' } },
  test: { environment: 'node', include: ['src/**/*.test.ts'] },
});
