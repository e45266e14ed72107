import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

import { defineConfig, type Plugin } from 'vite';

/** Puts the smaller forms of every file beside it, so that the server need not make them for every request. */
function compressed(): Plugin {
  return {
    name: 'compressed',
    apply: 'build',
    closeBundle() {
      copyFileSync('shop/gql/persisted-documents.json', 'dist/shop/documents.json');
      for (const entry of readdirSync('dist', { recursive: true, withFileTypes: true })) {
        const path = `${entry.parentPath}/${entry.name}`;
        if (!entry.isFile() || !/\.(js|css|html|svg|ttf)$/.test(entry.name)) {
          continue;
        }
        const file = readFileSync(path);
        const brotli = { params: { [constants.BROTLI_PARAM_QUALITY]: file.length > 1_000_000 ? 9 : 11 } };
        writeFileSync(`${path}.br`, brotliCompressSync(file, brotli));
        writeFileSync(`${path}.gz`, gzipSync(file, { level: 9 }));
      }
    },
  };
}

/** The shop speaks English: what React Aria would say in thirty other languages stays out of it. */
function english(): Plugin {
  return {
    name: 'english',
    enforce: 'pre',
    load: {
      filter: { id: /react-(aria|stately)\/dist\/private\/intl\/.*\/(?!en-US)[a-z]{2}-[A-Z]{2}\.m?js$/ },
      handler: () => 'export default {};',
    },
  };
}

/** While developing, pages have the addresses that the server gives them. */
function addresses(): Plugin {
  return {
    name: 'addresses',
    configureServer({ middlewares }) {
      middlewares.use((request, _response, next) => {
        if (request.headers.accept?.includes('text/html')) {
          request.url = request.url?.startsWith('/graphiql') ? '/graphiql/index.html' : '/shop/index.html';
        }
        next();
      });
    },
  };
}

// The server serves dist/shop/index.html for the shop's pages, dist/graphiql/index.html at /graphiql, and dist/assets/
// at /assets with a far-future cache lifetime, so every asset name carries a hash.
export default defineConfig({
  base: '/',
  plugins: [addresses(), english(), compressed()],
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    target: 'es2022',
    // Files, never data: addresses, so that everything is cacheable.
    assetsInlineLimit: 0,
    // Monaco is one large chunk by nature.
    chunkSizeWarningLimit: 4096,
    rolldownOptions: {
      input: ['shop/index.html', 'graphiql/index.html'],
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
      '/graphql': { target: 'http://127.0.0.1:8000', ws: true },
    },
  },
});
