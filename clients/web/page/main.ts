// The page at `/`: takes a photo or a clip, asks the service, shows what it says. Nothing outlives the page.

import '../src/index.js';
import { LivenessClient, LivenessError, type Model, type ReasonDetails } from '../src/client.js';
import { byId, made, percent } from './dom.js';
import { showPicture } from './picture.js';
import { isClip, say, sayError, showJson, showScore, showTimes, showVerdict, WORDS, type Answer } from './result.js';
import { prepareCalls, showCall } from './snippets.js';

interface Visit {
  readonly file: Blob;
  readonly answer: Answer;
  readonly wholeMs: number;
}

const MOST_VISITS = 12;
const camera = byId('camera') as HTMLElementTagNameMap['face-liveness-capture'];
const point = byId<HTMLSelectElement>('point');
const faces = byId<HTMLSelectElement>('faces');
const explain = byId<HTMLInputElement>('explain');
const keyField = byId<HTMLInputElement>('key');
const dialog = byId<HTMLDialogElement>('access');
const visits: Visit[] = [];
let key = '';
let model: Model | undefined;
let reasons: readonly ReasonDetails[] = [];
let file: Blob | undefined;
let fromCamera = false;
let asked = new AbortController();

const service = (): LivenessClient => new LivenessClient(document.baseURI.replace(/[^/]*$/, ''), { ...(key && { key }), timeoutMs: 60_000, retries: 1, maxRetryAfterS: 3 });
const clipChosen = (): boolean => (file ? file.type.startsWith('video/') : camera.getAttribute('mode') === 'clip');

/** What the model is called, its operating points, and what reasons mean. Without it the page works, with fewer words. */
async function learn(): Promise<void> {
  try {
    [[model], reasons] = await Promise.all([service().models(), service().reasons()]);
  } catch (error) {
    if (error instanceof LivenessError && error.status !== 401) sayError(error);
    return;
  }
  if (!model) return;
  byId('model').textContent = `model ${model.name} ${model.version}`;
  const chosen = point.value;
  const usual = model.default_operating_point;
  point.replaceChildren(...Object.entries(model.operating_points).map(([name, { apcer, bpcer }]) =>
    made('option', { value: name, textContent: `${name}: APCER ${percent(apcer)}, BPCER ${percent(bpcer)}` })));
  point.value = chosen || usual;
  for (const input of document.querySelectorAll<HTMLInputElement>('input[name=mode][value=clip]')) input.disabled = model.clips === null;
  tellCall();
}

function queryNow(): { operatingPoint?: string; faces: 'single' | 'largest' | 'all'; explain: boolean } {
  return { ...(point.value && { operatingPoint: point.value }), faces: faces.value as 'single', explain: explain.checked };
}

function tellCall(): void {
  const { operatingPoint, ...others } = queryNow();
  const query = new URLSearchParams();
  if (operatingPoint && operatingPoint !== model?.default_operating_point) query.set('operating_point', operatingPoint);
  if (others.faces !== 'single') query.set('faces', others.faces);
  if (others.explain) query.set('explain', 'true');
  showCall({ kind: clipChosen() ? 'clip' : 'photo', query: String(query), key: document.body.dataset.keys === 'yes' });
}

async function score(chosen: Blob): Promise<void> {
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  file = chosen;
  tellCall();
  showPlace();
  if (clipChosen() && faces.value === 'all') return say('error', 'One person a clip', 'Faces “all” is for photos: choose “single” or “largest” for a clip.');
  say('busy', 'Looking …', 'The picture is on its way to the service.');
  const began = performance.now();
  let answer: Answer;
  try {
    const options = { ...queryNow(), signal };
    answer = await (clipChosen() ? service().scoreClip(chosen, options) : service().scorePhoto(chosen, options));
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof LivenessError)) throw error;
    sayError(error);
    if (error.code === 'unauthorized') askForKey();
    return;
  }
  if (signal.aborted) return;
  const visit = { file: chosen, answer, wholeMs: performance.now() - began };
  visits.unshift(visit);
  visits.length = Math.min(visits.length, MOST_VISITS);
  await show(visit);
  remember();
}

/** Bring the verdict into view, where it is not. */
function showPlace(): void {
  const { top, bottom } = byId('verdict').getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) byId('result').scrollIntoView({ block: 'start', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
}

async function show(visit: Visit): Promise<void> {
  const { answer } = visit;
  showVerdict(answer, reasons);
  showScore(answer, model);
  showTimes(answer, visit.wholeMs);
  showJson(answer);
  const { signal } = asked;
  await showPicture(visit.file, answer, model, () => !signal.aborted);
}

/** The visit's answers as small pictures; a click shows one again. */
function remember(): void {
  byId('past').hidden = false;
  const small = made('canvas', { width: 72, height: 72 });
  const from = byId<HTMLCanvasElement>('photo');
  const side = Math.min(from.width, from.height);
  small.getContext('2d')!.drawImage(from, (from.width - side) / 2, (from.height - side) / 2, side, side, 0, 0, 72, 72);
  const [visit] = visits;
  if (!visit) return;
  const { answer } = visit;
  const score = answer.score === null ? (answer.reasons[0] ?? '').replaceAll('_', ' ') : answer.score.toFixed(3);
  const button = made('button', { type: 'button' }, small, made('b', { textContent: WORDS[answer.verdict][0] }), made('span', { textContent: `${isClip(answer) ? 'clip' : 'photo'} ${score}` }));
  button.dataset.kind = answer.verdict;
  button.addEventListener('click', () => {
    asked.abort();
    asked = new AbortController();
    file = visit.file;
    void show(visit);
    byId('result').focus();
  });
  const list = byId('visits');
  list.prepend(made('li', {}, button));
  while (list.childElementCount > MOST_VISITS) list.lastElementChild!.remove();
}

function askForKey(): void {
  byId('open-key').hidden = false;
  if (!dialog.open) dialog.showModal();
  keyField.focus();
}

async function useKey(): Promise<void> {
  key = keyField.value.trim();
  await learn();
  if (file && key) await score(file);
}

function prepare(): void {
  prepareCalls();
  camera.addEventListener('face-capture', event => {
    fromCamera = true;
    void score(event.detail.file);
  });
  camera.addEventListener('face-state', event => event.detail.state === 'starting' && (asked.abort(), say('empty', 'Camera', 'Follow the hints: the picture is taken by itself.')));
  for (const input of document.querySelectorAll<HTMLInputElement>('input[name=mode]')) input.addEventListener('change', () => {
    camera.stop();
    camera.setAttribute('mode', input.value);
    file = undefined;
    tellCall();
  });
  byId<HTMLInputElement>('file').addEventListener('change', event => take((event.target as HTMLInputElement).files));
  for (const button of document.querySelectorAll<HTMLElement>('[data-sample]')) button.addEventListener('click', async () => {
    fromCamera = false;
    camera.stop();
    await score(await (await fetch(button.dataset.sample!)).blob());
  });
  for (const select of [point, faces, explain]) select.addEventListener('change', () => (file ? void score(file) : tellCall()));
  byId('strength').addEventListener('input', event => { byId('map').style.opacity = String(Number((event.target as HTMLInputElement).value) / 100); });
  byId('again').addEventListener('click', again);
  addEventListener('paste', event => take(event.clipboardData?.files));
  addEventListener('dragover', event => { event.preventDefault(); byId('over').hidden = false; });
  addEventListener('dragleave', event => { if (!event.relatedTarget) byId('over').hidden = true; });
  addEventListener('drop', event => { event.preventDefault(); byId('over').hidden = true; take(event.dataTransfer?.files); });
  byId('open-key').addEventListener('click', askForKey);
  byId('no-key').addEventListener('click', () => dialog.close());
  byId('use').addEventListener('click', () => void useKey());
  keyField.addEventListener('keydown', event => { if (event.key === 'Enter') { event.preventDefault(); dialog.close(); void useKey(); } });
}

/** What could not be judged is taken anew; what had no answer is sent again. */
function again(): void {
  if (byId('verdict').dataset.kind === 'error') void (file ? score(file) : learn());
  else if (fromCamera) void camera.start();
  else byId<HTMLInputElement>('file').click();
}

function take(files: FileList | null | undefined): void {
  const [first] = files ?? [];
  if (!first) return;
  camera.stop();
  fromCamera = false;
  void score(first);
}

prepare();
if (document.body.dataset.keys === 'yes') byId('open-key').hidden = false;  // asking without one would only be refused
else void learn();
