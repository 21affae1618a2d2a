// <face-liveness-capture>: from a closed camera to a photo or a clip in the page's hands.

import { CameraError, isMirrored, openCamera, Recording, recordingFormat, takePhoto, type CameraFault, type Shot } from './camera.js';
import { Detector, SEARCHED_PX } from './detector.js';
import { Guide, ovalFor, type Hint } from './guide.js';
import { send, SendError, type SendFault } from './send.js';
import { textsFor, type TextKey, type Texts } from './texts.js';
import { View, type Button } from './view.js';

export type Fault = CameraFault | SendFault | 'lost' | 'ended';
export type State = 'idle' | 'starting' | 'guiding' | 'recording' | 'taken' | 'sending' | 'sent' | 'fault';

const WITH_FILE: readonly Fault[] = ['denied', 'no_camera', 'busy', 'insecure', 'unsupported'];
const NO_RETRY: readonly Fault[] = ['insecure', 'unsupported', 'refused'];
const PAUSE_MS = 60;  // between two looks at the camera, so that the page stays quick
const PAUSE_RECORDING_MS = 200;  // the coder needs the processor then
const GONE_MS = 800;  // a face that is away for longer ends a recording
const SLOW_MS = 5000;
const SEND_TIMEOUT_MS = 90_000;
const SIDEWAYS = '(orientation: landscape) and (max-height: 500px) and (pointer: coarse)';

const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement;  // so that servers may import this file

export class FaceLivenessCapture extends Base {
  static readonly observedAttributes = ['lang', 'mode'];
  /** Single texts in place of the built-in ones. */
  texts: Partial<Texts> = {};

  private view!: View;
  private current: State = 'idle';
  private fault: Fault | undefined;
  private hint: TextKey | undefined;
  private stream: MediaStream | undefined;
  private shot: Shot | undefined;
  private run = new AbortController();  // what is under way; ended by stop() and by whatever comes next
  private static readonly detectors = new Map<string, Promise<Detector>>();

  /** What it is doing. */
  get state(): State {
    return this.current;
  }

  connectedCallback(): void {
    this.view ??= new View(this.attachShadow({ mode: 'open' }));
    document.addEventListener('visibilitychange', this.hiddenPage);
    this.toIdle();
    if (this.hasAttribute('autostart')) void this.start();
  }

  disconnectedCallback(): void {
    document.removeEventListener('visibilitychange', this.hiddenPage);
    this.release();
  }

  attributeChangedCallback(): void {
    if (this.view && this.current === 'idle') this.toIdle();
  }

  /** Open the camera and begin. The promise ends when something is taken or went wrong. */
  async start(): Promise<void> {
    const run = this.begin();
    this.shot = undefined;
    this.enter('starting');
    this.view.message({ text: this.text('starting'), mood: 'calm', buttons: [] });
    if (this.mode === 'clip' && recordingFormat() === undefined && window.isSecureContext) return this.toFault('unsupported');
    const detector = this.detector().catch(() => undefined);
    try {
      const stream = await openCamera(this.getAttribute('facing') ?? 'user');
      if (run.aborted) return stopAll(stream);
      this.stream = stream;
      stream.getVideoTracks()[0]?.addEventListener('ended', () => this.stream === stream && this.toFault('ended'));
      const video = this.view.video;
      video.srcObject = stream;
      await video.play();
      this.view.still.hidden = true;
      this.enter('guiding');
      await this.watch(video, stream, await detector, run);
    } catch (error) {
      if (!run.aborted) this.toFault(error instanceof CameraError ? error.fault : 'busy');
    }
    return undefined;
  }

  /** Close the camera and give up what is under way. */
  stop(): void {
    this.release();
    this.toIdle();
  }

  /** Once more: send the same file again where only that failed, else begin anew. */
  retry(): void {
    if (this.fault === 'failed' && this.shot) void this.deliver(this.shot);
    else void this.start();
  }

  /** Take a file instead of the camera's picture. */
  useFile(file: File | Blob): void {
    this.begin();
    void this.hand({ file, kind: file.type.startsWith('video/') ? 'clip' : 'photo', width: 0, height: 0 });
  }

  private get mode(): 'photo' | 'clip' {
    return this.getAttribute('mode') === 'clip' ? 'clip' : 'photo';
  }

  /** Look at the camera's frames until a photo or a clip is taken. */
  private async watch(video: HTMLVideoElement, stream: MediaStream, detector: Detector | undefined, run: AbortSignal): Promise<void> {
    const guide = new Guide();
    const frames = document.createElement('canvas').getContext('2d', { willReadFrequently: true })!;
    const sideways = matchMedia(SIDEWAYS);
    const holdMs = this.number('hold-ms', 900);
    const clipMs = 1000 * this.number('seconds', 3);
    const manualAt = performance.now() + (detector && !this.hasAttribute('manual') ? this.number('manual-after-ms', 8000) : 0);
    let wanted = false;
    let goodSince: number | undefined;
    let seenAt = 0;
    let recording: Recording | undefined;
    let restartedAt = -Infinity;
    this.view.onShutter = () => { wanted = true; };
    run.addEventListener('abort', () => recording?.drop());
    while (!run.aborted) {
      const now = performance.now();
      const hint = sideways.matches ? 'landscape' : detector ? this.look(video, frames, detector, guide, now) : 'no_guide';
      if (run.aborted) return;
      if (recording) {
        if (hint !== 'no_face' && hint !== 'one_face' && hint !== 'landscape') seenAt = now;
        const done = (now - (recording.began ?? now)) / clipMs;
        this.show('recording', hint === 'no_face' || hint === 'one_face' ? hint : 'recording', 'good', done);
        if (done >= 1) return this.hand(await recording.stop());
        if (now - seenAt > GONE_MS && !wanted) {
          recording.drop();
          recording = goodSince = undefined;
          restartedAt = now;
        }
      } else {
        goodSince = hint === 'good' ? goodSince ?? now : undefined;
        const held = goodSince === undefined ? 0 : Math.min((now - goodSince) / holdMs, 1);
        const said = now - restartedAt < 2000 ? 'restarted' : hint;
        this.show('guiding', said, hint === 'good' ? 'good' : hint === 'no_guide' ? 'neutral' : 'bad', this.mode === 'photo' ? held : 0);
        this.view.offerShutter(now >= manualAt && hint !== 'landscape' ? this.text('take') : null);
        if (held >= 1 || wanted) {
          if (this.mode === 'photo') return this.hand(await takePhoto(video));
          this.view.offerShutter(null);
          recording = new Recording(stream, recordingFormat()!, video.videoWidth, video.videoHeight);
          seenAt = performance.now();
        }
      }
      await new Promise(resolve => setTimeout(resolve, recording ? PAUSE_RECORDING_MS : PAUSE_MS));
    }
  }

  /** Search one frame for faces. */
  private look(video: HTMLVideoElement, frames: CanvasRenderingContext2D, detector: Detector, guide: Guide, now: number): Hint {
    const enlarged = Math.max(video.videoWidth, video.videoHeight) / SEARCHED_PX;
    const [width, height] = [Math.round(video.videoWidth / enlarged), Math.round(video.videoHeight / enlarged)];
    if (frames.canvas.width !== width || frames.canvas.height !== height) {
      [frames.canvas.width, frames.canvas.height] = [width, height];
      this.view.frame(video.videoWidth, video.videoHeight, ovalFor(width / height), isMirrored(this.stream!));
    }
    frames.drawImage(video, 0, 0, width, height);
    const frame = frames.getImageData(0, 0, width, height);
    return guide.hint(detector.find(frame), frame, now, enlarged);
  }

  private show(state: 'guiding' | 'recording', key: TextKey, mood: 'good' | 'bad' | 'neutral', done: number): void {
    this.enter(state);
    this.view.live(this.text(key), mood, Math.min(done, 1), state === 'recording');
    if (key === this.hint) return;
    this.hint = key;
    this.tell('face-hint', { hint: key, text: this.text(key) });
  }

  /** Give what was taken to the page, and send it if there is an address. */
  private async hand(shot: Shot): Promise<void> {
    this.keepStill();
    this.begin();
    this.shot = shot;
    this.enter('taken');
    const wanted = this.tell('face-capture', shot);
    if (this.current !== 'taken') return undefined;  // the page began something else
    if (wanted && this.hasAttribute('upload-url')) return this.deliver(shot);
    return this.view.message({ text: this.text('taken'), mood: this.stillMood, buttons: [this.button('again', () => void this.start())] });
  }

  private async deliver(shot: Shot): Promise<void> {
    const run = this.begin();
    const began = performance.now();
    let percent = 0;
    const tell = (): void => {
      const key = performance.now() - began > this.number('slow-after-ms', SLOW_MS) ? 'slow' : 'sending';
      this.view.message({ text: this.text(key).replace('{percent}', String(percent)), mood: this.stillMood, buttons: [] });
    };
    this.enter('sending');
    const clock = setInterval(tell, 500);
    run.addEventListener('abort', () => clearInterval(clock));
    tell();
    try {
      const address = this.getAttribute('upload-url')!;
      const answer = await send(shot.file, address, this.getAttribute('token'), this.number('timeout-ms', SEND_TIMEOUT_MS), share => { percent = Math.round(100 * share); }, run);
      this.begin();
      this.enter('sent');
      this.view.message({ text: this.text('sent'), mood: this.stillMood, buttons: [] });
      this.tell('face-upload', answer);
    } catch (error) {
      if (run.aborted) return;
      if (error instanceof SendError && [400, 413, 415, 422].includes(error.status)) this.shot = undefined;  // the file is to blame
      this.toFault(error instanceof SendError ? error.fault : 'failed', error);
    }
  }

  private toIdle(): void {
    this.enter('idle');
    this.view.still.hidden = true;
    this.view.label(this.text('label'));
    this.view.message({ text: this.text('why'), mood: 'calm', buttons: [this.button('start', () => void this.start())] });
  }

  private toFault(fault: Fault, cause?: unknown): void {
    this.release();
    this.fault = fault;
    this.enter('fault');
    const buttons = NO_RETRY.includes(fault) ? [] : [this.button(fault === 'lost' ? 'go_on' : 'retry', () => this.retry())];
    const accept = this.mode === 'clip' ? 'video/*' : 'image/*';
    const file = WITH_FILE.includes(fault) ? { file: { text: this.text('file'), accept, chosen: (chosen: File) => this.useFile(chosen) } } : {};
    this.view.message({ text: this.text(fault), mood: 'fault', buttons, ...file });
    this.tell('face-error', { fault, text: this.text(fault), ...(cause instanceof SendError && { status: cause.status, body: cause.body }) });
  }

  private readonly hiddenPage = (): void => {
    if (document.hidden && ['starting', 'guiding', 'recording'].includes(this.current)) this.toFault('lost');
  };

  /** Keep the frame that is shown, after the camera is closed. */
  private keepStill(): void {
    const { video, still } = this.view;
    if (!this.stream || !video.videoWidth) return;
    [still.width, still.height] = [video.videoWidth, video.videoHeight];
    still.getContext('2d')!.drawImage(video, 0, 0);
    still.hidden = false;
  }

  private get stillMood(): 'over' | 'calm' {
    return this.view.still.hidden ? 'calm' : 'over';
  }

  /** End what is under way; the signal of what begins. */
  private begin(): AbortSignal {
    this.release();
    this.fault = this.hint = undefined;
    this.run = new AbortController();
    return this.run.signal;
  }

  private release(): void {
    this.run.abort();
    if (this.stream) stopAll(this.stream);
    this.stream = undefined;
    if (this.view) this.view.video.srcObject = null;
  }

  private detector(): Promise<Detector> {
    const address = this.getAttribute('detector-url') ?? new URL('yunet.bin', import.meta.url).href;
    const { detectors } = FaceLivenessCapture;
    const loaded = detectors.get(address) ?? Detector.load(address);
    detectors.set(address, loaded);
    loaded.catch(() => detectors.delete(address));  // the next start tries again
    return loaded;
  }

  private enter(state: State): void {
    if (state === this.current) return;
    this.current = state;
    this.tell('face-state', { state, fault: this.fault });
  }

  private tell(name: string, detail: unknown): boolean {
    return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true, cancelable: name === 'face-capture' }));
  }

  private text(key: TextKey): string {
    const language = this.closest('[lang]')?.getAttribute('lang') || navigator.language;
    return this.texts[key] ?? textsFor(language)[key];
  }

  private button(key: TextKey, press: () => void): Button {
    return { text: this.text(key), main: true, press };
  }

  private number(attribute: string, usual: number): number {
    const value = Number.parseFloat(this.getAttribute(attribute) ?? '');
    return Number.isFinite(value) && value >= 0 ? value : usual;
  }
}

function stopAll(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}
