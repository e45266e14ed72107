import './style.css';

import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { resume } from './api/session';
import { App } from './app';

const container = document.getElementById('root');
if (!container) {
  throw new Error('The page has no #root element');
}

void resume();
createRoot(container).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
