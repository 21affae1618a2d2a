// What the component looks like. It knows no camera: it is told what to show.

import type { Oval } from './guide.js';

const STYLE = `
:host { display: block; --_accent: var(--fl-accent, #3b6cf6); --_good: var(--fl-good, #22a06b); --_bad: var(--fl-bad, #d97706);
  --_shade: var(--fl-shade, rgb(10 14 22 / .62)); --_radius: var(--fl-radius, 1.25rem);
  font: 500 1rem/1.4 var(--fl-font, system-ui, sans-serif); }
:host([hidden]), [hidden] { display: none !important; }
.stage { position: relative; display: grid; overflow: clip; border-radius: var(--_radius); background: var(--fl-background, #10141d); color: #fff;
  aspect-ratio: 4 / 3; max-width: calc(var(--fl-max-height, 78vh) * 4 / 3); margin-inline: auto; isolation: isolate; }
.stage:focus { outline: none; }
video, canvas { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
.mirrored { transform: scaleX(-1); }
.oval { position: absolute; border-radius: 50%; box-shadow: 0 0 0 100vmax var(--_shade); border: 3px solid rgb(255 255 255 / .75);
  box-sizing: border-box; transition: border-color .25s; }
.oval[data-mood=good] { border-color: var(--_good); }
.oval[data-mood=bad] { border-color: var(--_bad); }
.ring { position: absolute; inset: -9px; border-radius: 50%; --turn: 0turn;
  background: conic-gradient(var(--_good) var(--turn), transparent 0);
  -webkit-mask: radial-gradient(farthest-side, transparent calc(100% - 6px), #000 calc(100% - 5px));
  mask: radial-gradient(farthest-side, transparent calc(100% - 6px), #000 calc(100% - 5px)); }
.hint { position: absolute; left: 50%; bottom: 1rem; transform: translateX(-50%); width: max-content; max-width: calc(100% - 2rem);
  box-sizing: border-box; margin: 0; padding: .55rem 1.1rem; border-radius: 999px; background: rgb(10 14 22 / .86); text-align: center; }
.record { position: absolute; top: 1rem; left: 1rem; width: .8rem; height: .8rem; border-radius: 50%; background: #ff4d4f; animation: beat 1s infinite alternate; }
@keyframes beat { to { opacity: .25; } }
.panel { position: relative; display: grid; place-content: center; justify-items: center; gap: 1.1rem; padding: 1.25rem; text-align: center;
  background: var(--fl-panel, linear-gradient(160deg, #1c2536, #10141d)); }
.panel[data-over] { background: linear-gradient(transparent 40%, rgb(10 14 22 / .88) 78%); place-content: end center; }
.panel p { margin: 0; max-width: 26rem; text-wrap: pretty; }
.face { width: 4.6rem; height: 6rem; border-radius: 50%; border: 3px dashed rgb(255 255 255 / .55); position: relative; }
.face::before, .face::after { content: ''; position: absolute; background: rgb(255 255 255 / .7); border-radius: 50%; }
.face::before { width: .5rem; height: .5rem; top: 40%; left: 27%; box-shadow: 1.65rem 0 rgb(255 255 255 / .7); }
.face::after { width: 1.5rem; height: .75rem; left: calc(50% - .75rem); top: 62%; background: none; border-bottom: 3px solid rgb(255 255 255 / .7); border-radius: 0 0 50% 50%; }
.face.fault { border-style: solid; border-color: var(--_bad); }
.face.fault::after { transform: scaleY(-1); border-color: var(--_bad); }
.buttons { display: flex; flex-wrap: wrap; gap: .6rem; justify-content: center; }
.shutter { position: absolute; right: 1rem; top: 1rem; }
button, .pick { font: inherit; font-weight: 600; border: 0; border-radius: 999px; padding: .7rem 1.4rem; min-height: 2.75rem; box-sizing: border-box;
  cursor: pointer; background: #fff; color: #10141d; transition: transform .12s; }
button.main { background: var(--_accent); color: var(--fl-on-accent, #fff); }
button:active { transform: scale(.97); }
button:focus-visible, .pick:focus-within { outline: 3px solid #fff; outline-offset: 3px; box-shadow: 0 0 0 3px #10141d; }
.pick { display: inline-flex; align-items: center; }
.pick input, .status { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (prefers-reduced-motion: reduce) { *, ::before, ::after { animation: none !important; transition: none !important; } }
@media (forced-colors: active) { .oval { border-color: CanvasText; } .hint, .panel { border: 1px solid CanvasText; } }
`;

export interface Button {
  readonly text: string;
  readonly main?: boolean;
  readonly press: () => void;
}

export interface Panel {
  readonly text: string;
  readonly mood: 'calm' | 'fault' | 'over';
  readonly buttons: readonly Button[];
  /** Offers a file; `accept` is what it may be, as in an input of HTML. */
  readonly file?: { readonly text: string; readonly accept: string; readonly chosen: (file: File) => void };
}

/** Make an element with attributes and children. */
function made<Name extends keyof HTMLElementTagNameMap>(name: Name, attributes: Record<string, string> = {}, ...children: (Node | string)[]): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.append(...children);
  return element;
}

export class View {
  readonly video = made('video', { part: 'video', playsinline: '', 'aria-hidden': 'true', tabindex: '-1' });
  readonly still = made('canvas', { part: 'still', 'aria-hidden': 'true', hidden: '' });
  private readonly ring = made('div', { class: 'ring' });
  private readonly oval = made('div', { class: 'oval', part: 'oval', hidden: '' }, this.ring);
  private readonly hint = made('p', { class: 'hint', part: 'hint', 'aria-hidden': 'true', hidden: '' });
  private readonly record = made('div', { class: 'record', hidden: '' });
  private readonly shutter = made('button', { class: 'shutter', part: 'button shutter', type: 'button', hidden: '' });
  private readonly panel = made('div', { class: 'panel', part: 'panel', hidden: '' });
  private readonly status = made('p', { class: 'status', role: 'status', 'aria-live': 'polite' });
  private readonly stage = made('div', { class: 'stage', part: 'stage', role: 'group', tabindex: '-1' },
    this.video, this.still, this.oval, this.record, this.hint, this.shutter, this.panel, this.status);
  private announced = 0;
  private waiting: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly root: ShadowRoot) {
    this.video.muted = true;  // the attribute alone does not count on iOS
    this.shutter.addEventListener('click', () => this.onShutter());
    const sheet = 'replaceSync' in CSSStyleSheet.prototype ? new CSSStyleSheet() : undefined;
    sheet?.replaceSync(STYLE);  // no inline style, so that a page's Content-Security-Policy may forbid them
    if (sheet) root.adoptedStyleSheets = [sheet];
    else root.append(made('style', {}, STYLE));
    root.append(this.stage);
  }

  onShutter: () => void = () => undefined;

  label(text: string): void {
    this.stage.setAttribute('aria-label', text);
  }

  /** Give the stage the frame's shape, lay the oval into it, and mirror what is shown. */
  frame(width: number, height: number, oval: Oval, mirrored: boolean): void {
    this.stage.style.aspectRatio = `${width} / ${height}`;
    this.stage.style.maxWidth = `calc(var(--fl-max-height, 78vh) * ${width / height})`;
    for (const picture of [this.video, this.still]) picture.classList.toggle('mirrored', mirrored);
    const percent = (share: number): string => `${100 * share}%`;
    this.oval.style.left = percent(oval.x - oval.width / 2);
    this.oval.style.top = percent(oval.y - oval.height / 2);
    this.oval.style.width = percent(oval.width);
    this.oval.style.height = percent(oval.height);
  }

  /** The live picture with oval and hint; `done` is the share of what has to be held or recorded. */
  live(text: string, mood: 'good' | 'bad' | 'neutral', done: number, recording: boolean): void {
    this.hidePanel();
    this.oval.hidden = this.hint.hidden = false;
    this.record.hidden = !recording;
    this.oval.dataset.mood = mood;
    this.ring.style.setProperty('--turn', `${done}turn`);
    if (this.hint.textContent !== text) this.hint.textContent = text;
    this.say(text);
  }

  /** A button above the live picture, or none. */
  offerShutter(text: string | null): void {
    this.shutter.hidden = text === null;
    if (text !== null && this.shutter.textContent !== text) this.shutter.textContent = text;
  }

  /** A message with buttons in place of the live picture, or over the still one. */
  message({ text, mood, buttons, file }: Panel): void {
    const hadFocus = this.root.activeElement !== null;
    this.oval.hidden = this.hint.hidden = this.record.hidden = this.shutter.hidden = true;
    const row = made('div', { class: 'buttons' });
    for (const { text: label, main, press } of buttons) {
      const button = made('button', { type: 'button', part: main ? 'button main' : 'button', class: main ? 'main' : '' }, label);
      button.addEventListener('click', press);
      row.append(button);
    }
    if (file) {
      const input = made('input', { type: 'file', accept: file.accept, capture: 'user' });
      input.addEventListener('change', () => input.files?.[0] && file.chosen(input.files[0]));
      row.append(made('label', { class: 'pick', part: 'button file' }, file.text, input));
    }
    const icon = mood === 'over' ? [] : [made('div', { class: `face ${mood}`, 'aria-hidden': 'true' })];
    this.panel.replaceChildren(...icon, made('p', { part: 'message' }, text), ...(row.childElementCount ? [row] : []));
    this.panel.toggleAttribute('data-over', mood === 'over');
    this.panel.hidden = false;
    if (hadFocus) (this.panel.querySelector<HTMLElement>('button, input') ?? this.stage).focus();
    this.say(text, true);
  }

  private hidePanel(): void {
    if (this.panel.hidden) return;
    const hadFocus = this.root.activeElement !== null;
    this.panel.hidden = true;
    if (hadFocus) this.stage.focus();  // else the focus would fall back to the beginning of the page
  }

  /** Tell screen readers, at most every 1.5 s: hints may change several times a second. */
  private say(text: string, now = false): void {
    clearTimeout(this.waiting);
    if (this.status.textContent === text) return;
    const wait = now ? 0 : Math.max(this.announced + 1500 - performance.now(), 0);
    this.waiting = setTimeout(() => {
      this.announced = performance.now();
      this.status.textContent = text;
    }, wait);
  }
}
