import './style.css';
import './workers';

import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { storage } from './storage';
import { defaultTabs } from './tabs';

// The API answers every operation with one JSON document. Without incremental
// delivery the fetcher asks for `application/graphql-response+json` first.
const fetcher = createGraphiQLFetcher({
  url: '/graphql',
  enableIncrementalDelivery: false,
});

const container = document.getElementById('root');
if (!container) {
  throw new Error('The page has no #root element');
}

createRoot(container).render(
  <StrictMode>
    <GraphiQL
      fetcher={fetcher}
      defaultTabs={defaultTabs}
      storage={storage}
      defaultEditorToolsVisibility="headers"
      // Access tokens are typed into the Headers pane: never store them.
      shouldPersistHeaders={false}
      showPersistHeadersSettings={false}
    >
      <GraphiQL.Logo>
        <a className="wordmark" href="/">
          Stockroom
        </a>
      </GraphiQL.Logo>
    </GraphiQL>
  </StrictMode>,
);
