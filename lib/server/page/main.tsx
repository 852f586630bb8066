import { render } from 'preact';
import { App } from './app.js';
import './style/base.css';
import './style/picture.css';
import './style/choices.css';
import './style/controls.css';

const root = document.getElementById('app');
if (root) render(<App />, root);
