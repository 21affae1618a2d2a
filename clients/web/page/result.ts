// The verdict in words, the score on its scale, the time it took.

import type { Clip, LivenessError, Model, Photo, ReasonDetails } from '../src/client.js';
import { byId, made, percent } from './dom.js';

export type Answer = Photo | Clip;
export const isClip = (answer: Answer): answer is Clip => 'clip' in answer;

export const WORDS = {
  live: ['Live', 'This is a live person, as far as the picture tells.'],
  spoof: ['Attack', 'This looks like a picture of a person: a print, or a screen.'],
  undetermined: ['No verdict', 'This cannot be judged. It is never a pass: what to do is below.'],
} as const;

/** Say it without a picture: while waiting, and where something went wrong. */
export function say(kind: 'empty' | 'busy' | 'error', word: string, why: string): void {
  byId('verdict').dataset.kind = kind;
  byId('word').textContent = word;
  byId('why').textContent = why;
  byId('reasons').hidden = byId('shown').hidden = byId('after').hidden = true;
  byId('steps').hidden = kind !== 'empty';
}

/** What a refusal means for whoever sits before the page. */
export function sayError(error: LivenessError): void {
  const waits = error.retryAfterS === undefined ? '' : ` Try again in ${Math.ceil(error.retryAfterS)} s.`;
  const word = { network: 'No answer', timeout: 'No answer in time' }[error.code] ?? error.problem?.title ?? 'Not scored';
  const why = error.code === 'network' ? 'The service cannot be reached. Is it running, and are you connected?' : error.message;
  say('error', word, why.charAt(0).toUpperCase() + why.slice(1) + waits);
  byId('after').hidden = false;
}

export function showVerdict(answer: Answer, reasons: readonly ReasonDetails[]): void {
  const [word, why] = WORDS[answer.verdict];
  byId('verdict').dataset.kind = answer.verdict;
  byId('word').textContent = word;
  byId('why').textContent = answer.score === null ? why : `${why} Score ${answer.score.toFixed(3)}.`;
  const told = answer.reasons.map(name => {
    const known = reasons.find(row => row.reason === name);
    return made('li', {}, made('b', { textContent: known?.advice ?? 'Try again.' }), made('span', { textContent: known ? `${known.text} ` : '' }, made('code', { textContent: name })));
  });
  byId('reasons').replaceChildren(...told);
  byId('reasons').hidden = told.length === 0;
  byId('after').hidden = answer.verdict !== 'undetermined';
  byId('shown').hidden = false;
  byId('steps').hidden = true;
}

export function showScore(answer: Answer, model: Model | undefined): void {
  const scale = byId('scale');
  scale.style.setProperty('--threshold', String(answer.threshold));
  scale.style.setProperty('--score', String(answer.score ?? 0));
  scale.toggleAttribute('data-none', answer.score === null);
  const said = answer.score === null ? 'No score' : `Score ${answer.score.toFixed(3)}`;
  scale.setAttribute('aria-label', `${said}; live from ${answer.threshold.toFixed(3)} on`);
  const points = isClip(answer) ? model?.clips?.operating_points : model?.operating_points;
  const point = points?.[answer.operating_point];
  const frames = isClip(answer) && answer.frame_score !== null ? ` The frames alone: ${answer.frame_score.toFixed(3)}.` : '';
  byId('rates').replaceChildren(
    made('b', { textContent: `Live from ${answer.threshold.toFixed(3)} on` }), ` (${answer.operating_point}).${frames} `,
    point ? `There, ${percent(point.apcer)} of attacks pass (APCER) and ${percent(point.bpcer)} of live people are refused (BPCER), measured on ${point.chosen_on}.` : '',
  );
}

const STAGES = ['decode', 'detect', 'align', 'queue', 'infer'] as const;
const STAGE_WORDS: Record<string, string> = { decode: 'read', detect: 'find the face', align: 'cut it out', queue: 'wait', infer: 'judge', other: 'the rest', network: 'to and fro' };

/** @param wholeMs from the click to the answer, as the page saw it. */
export function showTimes(answer: Answer, wholeMs: number): void {
  const times = answer.timings_ms;
  const parts: [string, number][] = STAGES.map(stage => [stage, times[stage]]);
  parts.push(['other', Math.max(times.total - parts.reduce((sum, [, ms]) => sum + ms, 0), 0)], ['network', Math.max(wholeMs - times.total, 0)]);
  const shown = parts.filter(([, ms]) => ms >= 0.05);
  byId('times').replaceChildren(...shown.map(([name, ms]) => {
    const bar = made('i', { className: name });
    bar.style.flexGrow = String(Math.max(ms, wholeMs / 200));
    return bar;
  }));
  byId('times').setAttribute('aria-label', `${wholeMs.toFixed(0)} ms in all, ${times.total.toFixed(0)} ms in the service`);
  byId('legend').replaceChildren(
    made('b', { textContent: `${times.total.toFixed(0)} ms in the service` }),
    ...shown.map(([name, ms]) => made('span', {}, made('i', { className: name }), `${STAGE_WORDS[name]} ${ms.toFixed(ms < 10 ? 1 : 0)}`)),
  );
}

export function showJson(answer: unknown): void {
  byId('json').textContent = JSON.stringify(answer, (name, value: unknown) => (name === 'heatmap_png' && value ? '…' : value), 2);
}
