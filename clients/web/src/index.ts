// The component. Importing this file defines <face-liveness-capture>.

import type { Shot } from './camera.js';
import { FaceLivenessCapture, type Fault, type State } from './element.js';
import type { Sent } from './send.js';
import type { TextKey } from './texts.js';

export { FaceLivenessCapture, type Fault, type State } from './element.js';
export { Detector, type Face, type Pixels } from './detector.js';
export { LANGUAGES, type TextKey, type Texts } from './texts.js';
export type { Shot } from './camera.js';
export type { Sent } from './send.js';

declare global {
  interface HTMLElementTagNameMap {
    'face-liveness-capture': FaceLivenessCapture;
  }
  interface HTMLElementEventMap {
    'face-state': CustomEvent<{ state: State; fault?: Fault }>;
    'face-hint': CustomEvent<{ hint: TextKey; text: string }>;
    /** What was taken. `preventDefault()` keeps it from being sent to `upload-url`. */
    'face-capture': CustomEvent<Shot>;
    /** The answer of `upload-url`. */
    'face-upload': CustomEvent<Sent>;
    'face-error': CustomEvent<{ fault: Fault; text: string; status?: number; body?: unknown }>;
  }
}

if (globalThis.customElements && !customElements.get('face-liveness-capture')) customElements.define('face-liveness-capture', FaceLivenessCapture);
