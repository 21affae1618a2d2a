// What to tell the person before the camera: one hint at a time, the one that matters most.

import type { Face, Pixels } from './detector.js';

export type Hint = 'no_face' | 'one_face' | 'nearer' | 'farther' | 'centre' | 'more_light' | 'less_light' | 'straight' | 'still' | 'good';

/** The oval, as shares of the frame: its middle, and its sides. */
export interface Oval {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** An upright oval that fits into a frame of any shape. `aspect` is the frame's width over its height. */
export function ovalFor(aspect: number): Oval {
  const height = Math.min(0.78, 0.84 * aspect / OVAL_ASPECT);
  return { x: 0.5, y: 0.48, width: height * OVAL_ASPECT / aspect, height };
}

const OVAL_ASPECT = 0.76;
// All in parts of the oval or the face, so that they hold for every camera.
const LEAST_HEIGHT = 0.5;  // of the face's box, over the oval's
const MOST_HEIGHT = 0.98;
const OFF_CENTRE = 0.2;  // from the oval's middle to the face's, over the oval's sides
const OTHER_FACE = 0.35;  // a second face counts from this share of the first one's height
const LEAST_LIGHT = 0.2;  // mean luma of the face; the service refuses below 0.08
const MOST_LIGHT = 0.93;
// YuNet draws the landmarks of a turned head towards a straight one, so these are far below what the service refuses.
const MOST_TURN_DEG = 18;
const MOST_NOD_DEG = 28;
const MOST_TILT_DEG = 15;
const MOST_MOTION = 0.5;  // face heights a second
const LEAST_FACE_PX = 80;  // in the camera's own pixels

/** Says what to improve, from frame to frame. */
export class Guide {
  private last: { face: Face; at: number } | undefined;

  /**
   * @param faces what was found in the frame.
   * @param frame the frame that was searched, as the camera sees it (not mirrored).
   * @param at when it was taken, milliseconds.
   * @param enlarged the camera's pixels for each of the frame's.
   */
  hint(faces: readonly Face[], frame: Pixels, at: number, enlarged: number): Hint {
    const [face, ...others] = [...faces].sort((one, other) => heightOf(other) - heightOf(one));
    const before = this.last;
    this.last = face && { face, at };
    if (!face) return 'no_face';
    if (others.some(other => heightOf(other) > OTHER_FACE * heightOf(face))) return 'one_face';
    const oval = ovalFor(frame.width / frame.height);
    const height = heightOf(face) / (oval.height * frame.height);
    const light = brightness(frame, face);
    if (light < LEAST_LIGHT) return 'more_light';  // first: in the dark the rest is a guess
    if (light > MOST_LIGHT) return 'less_light';
    if (height < LEAST_HEIGHT || Math.min(face.x2 - face.x1, heightOf(face)) * enlarged < LEAST_FACE_PX) return 'nearer';
    if (height > MOST_HEIGHT) return 'farther';
    const aside = Math.abs((face.x1 + face.x2) / 2 / frame.width - oval.x) / oval.width;
    const above = Math.abs((face.y1 + face.y2) / 2 / frame.height - oval.y) / oval.height;
    if (aside > OFF_CENTRE || above > OFF_CENTRE) return 'centre';
    const [turn, nod, tilt] = headPose(face);
    if (Math.abs(turn) > MOST_TURN_DEG || Math.abs(nod) > MOST_NOD_DEG || Math.abs(tilt) > MOST_TILT_DEG) return 'straight';
    return before && motion(before.face, face) / Math.max(at - before.at, 30) * 1000 > MOST_MOTION ? 'still' : 'good';
  }

  /** Forget the last frame, for example while the page was hidden. */
  reset(): void {
    this.last = undefined;
  }
}

const heightOf = (face: Face): number => face.y2 - face.y1;

/** How far the middle of the face went, and how much it grew, in its own heights; less what a detector trembles by. */
function motion(one: Face, other: Face): number {
  const across = (one.x1 + one.x2 - other.x1 - other.x2) / 2;
  const down = (one.y1 + one.y2 - other.y1 - other.y2) / 2;
  const moved = Math.hypot(across, down, heightOf(one) - heightOf(other)) / heightOf(other);
  return Math.max(moved - 0.03, 0);
}

/** Mean luma of the face, 0 to 1. */
function brightness(frame: Pixels, face: Face): number {
  let sum = 0;
  let count = 0;
  const right = Math.min(Math.ceil(face.x2), frame.width);
  const bottom = Math.min(Math.ceil(face.y2), frame.height);
  for (let y = Math.max(Math.floor(face.y1), 0); y < bottom; y++) {
    for (let x = Math.max(Math.floor(face.x1), 0); x < right; x++, count++) {
      const at = 4 * (y * frame.width + x);
      sum += 0.299 * frame.data[at]! + 0.587 * frame.data[at + 1]! + 0.114 * frame.data[at + 2]!;
    }
  }
  return count ? sum / count / 255 : 0;
}

// The pseudo-inverse of an average head's landmarks, as in liveness_core/quality.py: rows x, y, z.
const HEAD = [
  [-0.6217, 0.6217, 0.0000, -0.4850, 0.4850],
  [-0.4637, -0.4637, 0.0422, 0.4427, 0.4427],
  [0.5059, 0.5059, -2.3187, 0.6535, 0.6535],
];

/** Turn, nod and tilt in degrees, within about 10, from the five landmarks. See `head_pose_deg` in liveness_core. */
export function headPose(face: Face): [number, number, number] {
  const rows = [0, 1].map(axis => HEAD.map(weights => weights.reduce((sum, weight, point) => sum + weight * face.landmarks[point]![axis]!, 0)));
  const [x, y] = orthonormal(rows[0]!, rows[1]!);
  const z = x[0]! * y[1]! - x[1]! * y[0]!;  // of the third row, the part along z
  const degrees = 180 / Math.PI;
  return [Math.atan2(-x[2]!, z) * degrees, Math.asin(Math.min(Math.max(y[2]!, -1), 1)) * degrees, Math.atan2(y[0]!, x[0]!) * degrees];
}

/** The nearest two rows of a rotation, found by halving the error of their angle a few times. */
function orthonormal(x: number[], y: number[]): [number[], number[]] {
  const unit = (row: number[]): number[] => row.map(value => value / (Math.hypot(...row) || 1));
  let [one, other] = [unit(x), unit(y)];
  for (let round = 0; round < 4; round++) {
    const dot = one.reduce((sum, value, axis) => sum + value * other[axis]!, 0);
    [one, other] = [unit(one.map((value, axis) => value - dot / 2 * other[axis]!)), unit(other.map((value, axis) => value - dot / 2 * one[axis]!))];
  }
  return [one, other];
}
