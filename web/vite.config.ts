import { defineConfig } from 'vite';

// The server serves dist/graphiql/index.html at /graphiql and dist/assets/ at
// /assets with a far-future cache lifetime, so every asset name carries a hash.
export default defineConfig({
  base: '/',
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    target: 'es2022',
    // Files, never data: addresses, so that everything is cacheable.
    assetsInlineLimit: 0,
    // Monaco is one large chunk by nature.
    chunkSizeWarningLimit: 4096,
    rolldownOptions: {
      input: 'graphiql/index.html',
      onLog(level, log, next) {
        // "use client" marks in dependencies mean nothing in a browser bundle.
        if (log.code !== 'MODULE_LEVEL_DIRECTIVE') {
          next(level, log);
        }
      },
    },
  },
  worker: {
    format: 'es',
  },
  server: {
    proxy: {
      '/graphql': 'http://127.0.0.1:8000',
    },
  },
});
