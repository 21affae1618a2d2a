// The face detector YuNet (Wu et al., 2023), run in plain JavaScript on small frames. Its weights (MIT, see
// LICENSE-yunet) are loaded when a camera opens. A frame of 160x128 pixels takes about 15 million multiplications.

import { addedTo, depthwise, halved, planes, pointwise, stem, type Planes } from './operators.js';

/** A face in pixels of the frame that was searched. */
export interface Face {
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
  /** 0 to 1. */
  readonly confidence: number;
  /** Eye at the frame's left, eye at its right, nose tip, mouth corners likewise. */
  readonly landmarks: readonly (readonly [number, number])[];
}

/** RGBA pixels, as a canvas gives them. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray | Uint8Array;
}

/** The longer side of the frame that is searched: a face of a tenth of it is found. */
export const SEARCHED_PX = 160;

interface Layer { readonly weights: Float32Array; readonly bias: Float32Array; }
interface Pair { readonly across: Layer; readonly spatial: Layer; }  // 1x1, then 3x3 of each channel

const STRIDES = [8, 16, 32] as const;
const BACKBONE = [[16, 16], [16, 16], [16, 32], [32, 32], [32, 64], [64, 64], [64, 64], [64, 64], [64, 64], [64, 64], [64, 64]];
const POOLED_BEFORE = new Set([1, 5, 7, 9]);  // pairs of the backbone, counted from 0, whose input is halved
const HEADS = [1, 4, 1, 10];  // channels of face, box, object, landmarks
const LEAST_CONFIDENCE = 0.6;
const MOST_OVERLAP = 0.3;

export class Detector {
  private readonly first: Layer;
  private readonly backbone: Pair[];
  private readonly neck: Pair[];  // for strides 32, 16, 8
  private readonly heads: Pair[][];  // face, box, object, landmarks; each for strides 8, 16, 32

  /** @param packed the content of yunet.bin. */
  constructor(packed: ArrayBuffer) {
    const halves = new Uint16Array(packed);
    let at = 0;
    const take = (count: number): Float32Array => {
      if (at + count > halves.length) throw new Error('yunet.bin is too short');
      return Float32Array.from(halves.subarray(at, at += count), fromHalf);
    };
    const layer = (weights: number, outputs: number): Layer => ({ weights: take(weights), bias: take(outputs) });
    const pair = (inputs: number, outputs: number): Pair =>
      ({ across: layer(inputs * outputs, outputs), spatial: layer(9 * outputs, outputs) });
    this.first = layer(16 * 27, 16);
    this.backbone = BACKBONE.map(([inputs, outputs]) => pair(inputs!, outputs!));
    this.neck = STRIDES.map(() => pair(64, 64));
    this.heads = HEADS.map(channels => STRIDES.map(() => pair(64, channels)));
    if (at !== halves.length) throw new Error('yunet.bin is too long');
  }

  /** Load the weights from an address. */
  static async load(address: string): Promise<Detector> {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
    return new Detector(await answer.arrayBuffer());
  }

  /** The faces of a frame, the most confident first. Sides of more than 160 pixels only cost time. */
  find(frame: Pixels): Face[] {
    const levels: Planes[] = [];
    let x = stem(blueGreenRed(frame), this.first.weights, this.first.bias);
    this.backbone.forEach((layers, index) => {
      if (POOLED_BEFORE.has(index)) x = halved(x);
      x = run(layers, x, true);
      if (index === 6 || index === 8) levels.push(x);
    });
    const coarse = run(this.neck[0]!, x, true);
    const middle = run(this.neck[1]!, addedTo(levels[1]!, coarse), true);
    const fine = run(this.neck[2]!, addedTo(levels[0]!, middle), true);
    const found = [fine, middle, coarse].flatMap((features, level) => {
      const [face, box, object, points] = this.heads.map(head => run(head[level]!, features, false)) as [Planes, Planes, Planes, Planes];
      return decoded(face, box, object, points, STRIDES[level]!);
    });
    found.sort((one, other) => other.confidence - one.confidence);
    const kept: Face[] = [];
    for (const face of found) if (!kept.some(better => overlap(better, face) > MOST_OVERLAP)) kept.push(face);
    return kept;
  }
}

const run = (layers: Pair, input: Planes, relu: boolean): Planes =>
  depthwise(pointwise(input, layers.across.weights, layers.across.bias), layers.spatial.weights, layers.spatial.bias, relu);

/** The frame as YuNet was trained: blue, green, red from 0 to 255, black beyond it up to multiples of 32. */
function blueGreenRed(frame: Pixels): Planes {
  const input = planes(3, Math.ceil(frame.height / 32) * 32, Math.ceil(frame.width / 32) * 32);
  const size = input.height * input.width;
  for (let y = 0; y < frame.height; y++) {
    for (let x = 0; x < frame.width; x++) {
      const from = 4 * (y * frame.width + x);
      const to = y * input.width + x;
      for (let c = 0; c < 3; c++) input.data[c * size + to] = frame.data[from + 2 - c]!;
    }
  }
  return input;
}

/** The boxes of one level; what the outputs mean is in liveness_core/detection/yunet_network.py. */
function decoded(face: Planes, box: Planes, object: Planes, points: Planes, stride: number): Face[] {
  const faces: Face[] = [];
  const size = face.height * face.width;
  for (let cell = 0; cell < size; cell++) {
    const confidence = Math.sqrt(sigmoid(face.data[cell]!) * sigmoid(object.data[cell]!));
    if (confidence < LEAST_CONFIDENCE) continue;
    const column = cell % face.width;
    const row = Math.floor(cell / face.width);
    const x = (column + box.data[cell]!) * stride;
    const y = (row + box.data[size + cell]!) * stride;
    const halfWidth = Math.exp(Math.min(box.data[2 * size + cell]!, 8)) * stride / 2;
    const halfHeight = Math.exp(Math.min(box.data[3 * size + cell]!, 8)) * stride / 2;
    const landmarks = [0, 1, 2, 3, 4].map(point => [
      (column + points.data[2 * point * size + cell]!) * stride,
      (row + points.data[(2 * point + 1) * size + cell]!) * stride,
    ] as const);
    faces.push({ x1: x - halfWidth, y1: y - halfHeight, x2: x + halfWidth, y2: y + halfHeight, confidence, landmarks });
  }
  return faces;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

function overlap(one: Face, other: Face): number {
  const width = Math.min(one.x2, other.x2) - Math.max(one.x1, other.x1);
  const height = Math.min(one.y2, other.y2) - Math.max(one.y1, other.y1);
  if (width <= 0 || height <= 0) return 0;
  const area = (face: Face): number => (face.x2 - face.x1) * (face.y2 - face.y1);
  return width * height / (area(one) + area(other) - width * height);
}

function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
