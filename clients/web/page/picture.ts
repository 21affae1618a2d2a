// The photo or a clip's frames, with boxes, landmarks and the heat map where it belongs.

import type { Model } from '../src/client.js';
import { byId, made } from './dom.js';
import { isClip, type Answer } from './result.js';

type Face = Answer['faces'][number];

const photo = byId<HTMLCanvasElement>('photo');
const map = byId<HTMLCanvasElement>('map');

/** Show what was sent. */
export async function showPicture(file: Blob, answer: Answer, model: Model | undefined, still: () => boolean): Promise<void> {
  map.hidden = byId('slider').hidden = byId('strip-box').hidden = true;
  if (isClip(answer)) await showFrames(file, answer, model, still);
  else {
    const picture = await createImageBitmap(file).catch(() => null);  // upright, as the coordinates are
    if (!still()) return;
    draw(picture, answer.image.width, answer.image.height, answer.faces);
    byId('caption').textContent = picture ? `${answer.image.width} × ${answer.image.height}, ${faces(answer.faces.length)}` : 'This browser cannot show files of this kind.';
    await overlay(answer, model, still);
  }
}

const faces = (count: number): string => (count === 1 ? 'one face' : count ? `${count} faces` : 'no face');

type Marked = readonly Pick<Face, 'box' | 'landmarks' | 'verdict'>[];

function draw(picture: CanvasImageSource | null, width: number, height: number, found: Marked): void {
  [photo.width, photo.height] = [width || 4, height || 3];
  byId('frame').style.aspectRatio = `${photo.width} / ${photo.height}`;
  byId('frame').style.maxWidth = `calc(26rem * ${photo.width / photo.height})`;
  const context = photo.getContext('2d')!;
  if (picture) context.drawImage(picture, 0, 0, photo.width, photo.height);
  mark(context, found);
}

function mark(context: CanvasRenderingContext2D, found: Marked): void {
  const style = getComputedStyle(document.documentElement);
  context.lineWidth = Math.max(2, context.canvas.width / 220);
  for (const { box: [x1, y1, x2, y2], landmarks, verdict } of found) {
    context.strokeStyle = context.fillStyle = style.getPropertyValue(`--mark-${verdict}`);
    context.beginPath();
    context.roundRect(x1, y1, x2 - x1, y2 - y1, context.lineWidth * 4);
    context.stroke();
    for (const [x, y] of landmarks) {
      context.beginPath();
      context.arc(x, y, context.lineWidth * 1.2, 0, 7);
      context.fill();
    }
  }
}

/** Lay each heat map on the square of the picture that it was made of. */
async function overlay(answer: Answer, model: Model | undefined, still: () => boolean): Promise<void> {
  const view = model?.views.find(each => each.heatmap);
  const explained = answer.faces.filter(face => face.heatmap_png);
  if (!view || view.rule !== 'level_square' || explained.length === 0) return;
  [map.width, map.height] = [photo.width, photo.height];
  const context = map.getContext('2d')!;
  for (const face of explained) {
    const image = new Image();
    image.src = `data:image/png;base64,${face.heatmap_png}`;
    await image.decode();
    if (!still()) return;
    const { x, y, side, angle } = square(face, photo.width, photo.height, view.margin);
    context.save();
    context.translate(x, y);
    context.rotate(angle);
    context.drawImage(image, -side / 2, -side / 2, side, side);
    context.restore();
  }
  mark(context, explained);  // above the map, which would hide them
  map.hidden = byId('slider').hidden = false;
}

/** Where the crop lies: steps 1 to 3 of liveness_core/alignment.py. */
function square(face: Face, width: number, height: number, margin: number): { x: number; y: number; side: number; angle: number } {
  const [x1, y1, x2, y2] = face.box;
  const [[leftX, leftY], [rightX, rightY]] = face.landmarks;
  const angle = Math.atan2(rightY - leftY, rightX - leftX);
  const spread = Math.abs(Math.cos(angle)) + Math.abs(Math.sin(angle));
  const size = Math.sqrt(Math.max(x2 - x1, 1) * Math.max(y2 - y1, 1));
  const side = Math.min(margin * size, Math.min(width, height) / spread);
  const reach = side * spread / 2;
  const within = (middle: number, most: number): number => Math.min(Math.max(middle, reach), most - reach);
  return { x: within((x1 + x2) / 2, width), y: within((y1 + y2) / 2, height), side, angle };
}

async function showFrames(file: Blob, answer: Extract<Answer, { clip: unknown }>, model: Model | undefined, still: () => boolean): Promise<void> {
  const { clip, frames } = answer;
  byId('caption').textContent = `${clip.width} × ${clip.height}, ${clip.duration_s.toFixed(1)} s, ${clip.fps.toFixed(0)} frames a second, ${clip.frames_used} used`;
  const video = made('video', { muted: true, playsInline: true, preload: 'auto', src: URL.createObjectURL(file) });
  const told = Shown.of(video);
  try {
    draw(null, clip.width, clip.height, []);
    if (!await happens(video, 'loadeddata')) {
      byId('caption').textContent += '. This browser cannot play it.';
      return;
    }
    const middle = frames[Math.floor(frames.length / 2)];
    const shown: HTMLCanvasElement[] = [];
    const places = frames.map((frame, index) => {
      const small = made('canvas', { width: 96, height: Math.round(96 * clip.height / Math.max(clip.width, 1)) });
      const said = frame.score === null ? frame.reasons.join(', ').replaceAll('_', ' ') || 'usable' : frame.score.toFixed(2);
      const button = made('button', { type: 'button' }, small, made('span', { textContent: `${frame.time_s.toFixed(1)} s` }), made('b', { textContent: said }));
      const verdict = frame.score === null ? 'undetermined' : frame.score >= answer.threshold ? 'live' : 'spoof';
      button.dataset.kind = verdict;
      const show = (): void => {
        const known = frame === middle ? answer.faces : frame.box ? [{ box: frame.box, landmarks: [] as unknown as Face['landmarks'], verdict }] : [];
        draw(shown[index] ?? null, clip.width, clip.height, known as Face[]);
        for (const other of places) other.button.setAttribute('aria-pressed', String(other.button === button));
        map.hidden = byId('slider').hidden = true;
        if (frame === middle) void overlay(answer, model, still);
      };
      button.addEventListener('click', show);
      return { button, small, show };
    });
    byId('strip').replaceChildren(...places.map(place => made('li', {}, place.button)));
    byId('strip-box').hidden = places.length === 0;
    for await (const index of passed(video, told, frames.map(frame => frame.time_s + 0.001), clip.fps)) {
      if (!still()) return;
      const picture = shown[index] = made('canvas', { width: video.videoWidth, height: video.videoHeight });
      picture.getContext('2d')!.drawImage(video, 0, 0);
      const place = places[index]!;
      place.small.getContext('2d')!.drawImage(picture, 0, 0, place.small.width, place.small.height);
      if (frames[index] === middle) place.show();
    }
  } finally {
    video.pause();
    URL.revokeObjectURL(video.src);
  }
}

/** The numbers of these times, each while the video shows its frame: found by seeking, and where that fails by playing. */
async function* passed(video: HTMLVideoElement, shown: Shown | undefined, times: readonly number[], fps: number): AsyncGenerator<number> {
  let next = 0;
  for (; next < times.length && await sought(video, shown, times[next]!, fps); next++) yield next;
  if (!shown || next === times.length) return;
  [video.currentTime, video.playbackRate] = [0, 2];
  void video.play().catch(() => undefined);
  while (next < times.length && await shown.next())
    for (; next < times.length && times[next]! <= shown.at + 0.5 / fps; next++) yield next;
}

/**
 * Whether the video shows the frame of this time. What browsers record has no index: Firefox says that it has sought in it,
 * and goes on to show an earlier frame. Only the frame itself tells, in a tab that is seen.
 */
async function sought(video: HTMLVideoElement, shown: Shown | undefined, time: number, fps: number): Promise<boolean> {
  const near = (): boolean => !shown || document.hidden || Math.abs(shown.at - time) < 0.1 + 1.5 / fps;
  video.currentTime = time;
  return await happens(video, 'seeked') && (near() || await shown!.next() && near());
}

/** The time of the frame that a video shows, for browsers that tell it (Firefox from 132 on, Safari from 15.4 on). */
class Shown {
  at = NaN;
  private waiting: (() => void)[] = [];

  static of(video: HTMLVideoElement): Shown | undefined {
    return 'requestVideoFrameCallback' in video ? new Shown(video) : undefined;
  }

  private constructor(video: HTMLVideoElement) {
    const watch = (): number => video.requestVideoFrameCallback((_now, { mediaTime }) => {
      this.at = mediaTime;
      for (const tell of this.waiting.splice(0)) tell();
      watch();
    });
    watch();
  }

  /** Whether another frame is shown within a second. */
  next(): Promise<boolean> {
    return new Promise(resolve => {
      this.waiting.push(() => resolve(true));
      setTimeout(() => resolve(false), 1000);
    });
  }
}

/** Whether the event comes, rather than an error or nothing within five seconds. */
function happens(video: HTMLVideoElement, event: string): Promise<boolean> {
  return new Promise(resolve => {
    const timer = setTimeout(() => resolve(false), 5000);
    video.addEventListener(event, () => { clearTimeout(timer); resolve(true); }, { once: true });
    video.addEventListener('error', () => { clearTimeout(timer); resolve(false); }, { once: true });
  });
}
