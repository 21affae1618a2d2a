// The few operators that YuNet consists of, on float planes: channel after channel, row after row.

export interface Planes {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly data: Float32Array;
}

export const planes = (channels: number, height: number, width: number): Planes =>
  ({ channels, height, width, data: new Float32Array(channels * height * width) });

/** A 1x1 convolution. `weights` are [out][in]. */
export function pointwise(input: Planes, weights: Float32Array, bias: Float32Array): Planes {
  const size = input.height * input.width;
  const output = planes(bias.length, input.height, input.width);
  const from = input.data;
  for (let o = 0; o < bias.length; o++) {
    const to = output.data.subarray(o * size, (o + 1) * size).fill(bias[o]!);
    const row = o * input.channels;
    for (let i = 0; i < input.channels; i += 4) {  // four at a time: the sums are read and written less often
      const [a, b, c, d] = [weights[row + i]!, weights[row + i + 1]!, weights[row + i + 2]!, weights[row + i + 3]!];
      const [p, q, r, s] = [i * size, (i + 1) * size, (i + 2) * size, (i + 3) * size];
      for (let x = 0; x < size; x++) to[x] = to[x]! + a * from[p + x]! + b * from[q + x]! + c * from[r + x]! + d * from[s + x]!;
    }
  }
  return output;
}

/** A 3x3 convolution of each channel by itself, with a border of zeros. `weights` are [channel][3][3]. */
export function depthwise(input: Planes, weights: Float32Array, bias: Float32Array, relu: boolean): Planes {
  const { channels, height, width } = input;
  const output = planes(channels, height, width);
  const wide = width + 2;
  const padded = new Float32Array(wide * (height + 2));
  const least = relu ? 0 : -Infinity;
  for (let c = 0; c < channels; c++) {
    pad(input.data, c * height * width, padded, height, width);
    const [a, b, d, e, f, g, h, i, j] = weights.subarray(c * 9, c * 9 + 9) as unknown as number[];
    for (let y = 0; y < height; y++) {
      let above = y * wide;
      let at = (c * height + y) * width;
      for (let x = 0; x < width; x++, above++, at++) {
        const middle = above + wide;
        const below = middle + wide;
        const sum = bias[c]!
          + a! * padded[above]! + b! * padded[above + 1]! + d! * padded[above + 2]!
          + e! * padded[middle]! + f! * padded[middle + 1]! + g! * padded[middle + 2]!
          + h! * padded[below]! + i! * padded[below + 1]! + j! * padded[below + 2]!;
        output.data[at] = sum > least ? sum : least;
      }
    }
  }
  return output;
}

/** A 3x3 convolution over all channels with stride 2, a border of zeros and a ReLU. `weights` are [out][in][3][3]. */
export function stem(input: Planes, weights: Float32Array, bias: Float32Array): Planes {
  const { channels, height, width } = input;
  const output = planes(bias.length, height / 2, width / 2);
  const wide = width + 2;
  const size = output.height * output.width;
  for (let o = 0; o < bias.length; o++) output.data.fill(bias[o]!, o * size, (o + 1) * size);
  const padded = new Float32Array(wide * (height + 2));
  for (let i = 0; i < channels; i++) {
    pad(input.data, i * height * width, padded, height, width);
    for (let o = 0; o < bias.length; o++) {
      const [a, b, d, e, f, g, h, k, l] = weights.subarray((o * channels + i) * 9, (o * channels + i) * 9 + 9) as unknown as number[];
      let at = o * size;
      for (let y = 0; y < output.height; y++) {
        for (let x = 0; x < output.width; x++, at++) {
          const above = 2 * y * wide + 2 * x;
          const middle = above + wide;
          const below = middle + wide;
          output.data[at] = output.data[at]!
            + a! * padded[above]! + b! * padded[above + 1]! + d! * padded[above + 2]!
            + e! * padded[middle]! + f! * padded[middle + 1]! + g! * padded[middle + 2]!
            + h! * padded[below]! + k! * padded[below + 1]! + l! * padded[below + 2]!;
        }
      }
    }
  }
  for (let at = 0; at < output.data.length; at++) if (output.data[at]! < 0) output.data[at] = 0;
  return output;
}

/** The largest of each 2x2 pixels. Height and width are even. */
export function halved(input: Planes): Planes {
  const output = planes(input.channels, input.height / 2, input.width / 2);
  let at = 0;
  for (let row = 0; row < input.channels * input.height; row += 2) {
    for (let x = 0; x < input.width; x += 2, at++) {
      const above = row * input.width + x;
      const below = above + input.width;
      output.data[at] = Math.max(input.data[above]!, input.data[above + 1]!, input.data[below]!, input.data[below + 1]!);
    }
  }
  return output;
}

/** `coarse` at twice its size, each pixel four times, added to `fine`. */
export function addedTo(fine: Planes, coarse: Planes): Planes {
  const output = planes(fine.channels, fine.height, fine.width);
  for (let row = 0; row < fine.channels * fine.height; row++) {
    const channel = Math.floor(row / fine.height);
    const from = (channel * coarse.height + ((row % fine.height) >> 1)) * coarse.width;
    for (let x = 0; x < fine.width; x++) output.data[row * fine.width + x] = fine.data[row * fine.width + x]! + coarse.data[from + (x >> 1)]!;
  }
  return output;
}

function pad(from: Float32Array, start: number, to: Float32Array, height: number, width: number): void {
  for (let y = 0; y < height; y++) to.set(from.subarray(start + y * width, start + (y + 1) * width), (y + 1) * (width + 2) + 1);
}
