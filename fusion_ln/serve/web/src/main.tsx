import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './App';
import './style/base.css';
import './style/shell.css';
import './style/patient.css';
import './style/result.css';
import './style/print.css';
import { Speaker } from './words/words';

const root = document.getElementById('root');
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Speaker>
        <App />
      </Speaker>
    </StrictMode>,
  );
}
