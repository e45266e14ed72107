import './style.css';
import './workers';

import { DOC_EXPLORER_PLUGIN } from '@graphiql/plugin-doc-explorer';
import { HISTORY_PLUGIN } from '@graphiql/plugin-history';
import { GraphiQL } from 'graphiql';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { accountPlugin } from './account';
import { fetcher } from './fetcher';
import { ReportBar } from './report';
import { storage } from './storage';
import { defaultTabs } from './tabs';

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
      plugins={[HISTORY_PLUGIN, accountPlugin]}
      referencePlugin={DOC_EXPLORER_PLUGIN}
      defaultEditorToolsVisibility={false}
      // Access tokens may be typed into the Headers pane: never store them.
      shouldPersistHeaders={false}
      showPersistHeadersSettings={false}
    >
      <GraphiQL.Logo>
        <a className="wordmark" href="/">
          Stockroom
        </a>
      </GraphiQL.Logo>
      <GraphiQL.Footer>
        <ReportBar />
      </GraphiQL.Footer>
    </GraphiQL>
  </StrictMode>,
);
