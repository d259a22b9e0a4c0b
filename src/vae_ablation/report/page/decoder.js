"use strict";
// Arrays and decoders in a page: what bundle.py and layers.py store, read back and computed.
const Decoder = (() => {
// ---------------------------------------------------------------- arrays

async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Bytes of equal significance lie together; the uppermost holds the sign.
function readArray(bytes, stored) {
  const { at, length, width, step } = stored;
  const values = new Float32Array(length);
  const unused = 32 - 8 * width;
  for (let i = 0; i < length; i++) {
    let multiple = 0;
    for (let plane = 0; plane < width; plane++) multiple |= bytes[at + plane * length + i] << (8 * plane);
    values[i] = ((multiple << unused) >> unused) * step;
  }
  return values;
}

// ---------------------------------------------------------------- decoder

// Each layer takes and gives { data, shape } of one example; step.out is its own and is used again.
const LAYERS = {
  linear(step, input) {
    const { weight, bias, outputs } = step;
    const inputs = input.data.length;
    const out = (step.out ??= new Float32Array(outputs));
    for (let o = 0, w = 0; o < outputs; o++) {
      let sum = bias ? bias[o] : 0;
      for (let i = 0; i < inputs; i++) sum += weight[w++] * input.data[i];
      out[o] = sum;
    }
    return { data: out, shape: [outputs] };
  },
  relu: (step, input) => each(input, (x) => (x > 0 ? x : 0)),
  tanh: (step, input) => each(input, Math.tanh),
  silu: (step, input) => each(input, (x) => x * sigmoid(x)),
  reshape: (step, input) => ({ data: input.data, shape: step.shape }),
  // Pixels of all channels lie together in a picture, and apart in convolutions.
  channels_last(step, input) {
    const area = input.shape[1] * input.shape[2];
    const out = (step.out ??= new Float32Array(step.channels * area));
    for (let c = 0; c < step.channels; c++) {
      for (let i = 0; i < area; i++) out[i * step.channels + c] = input.data[c * area + i];
    }
    return { data: out, shape: [out.length] };
  },
  conv_transpose2d(step, input) {
    const [channels, height, width] = input.shape;
    const [kh, kw] = step.kernel_size;
    const [sh, sw] = step.stride;
    const [ph, pw] = step.padding;
    const high = (height - 1) * sh - 2 * ph + kh + step.output_padding[0];
    const wide = (width - 1) * sw - 2 * pw + kw + step.output_padding[1];
    const area = high * wide;
    const out = (step.out ??= new Float32Array(step.outputs * area));
    for (let o = 0; o < step.outputs; o++) out.fill(step.bias ? step.bias[o] : 0, o * area, (o + 1) * area);
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const value = input.data[(c * height + y) * width + x];
          if (value === 0) continue;
          for (let o = 0; o < step.outputs; o++) {
            const kernel = (c * step.outputs + o) * kh * kw;
            for (let i = 0; i < kh; i++) {
              const row = y * sh - ph + i;
              if (row < 0 || row >= high) continue;
              for (let j = 0; j < kw; j++) {
                const column = x * sw - pw + j;
                if (column >= 0 && column < wide) out[o * area + row * wide + column] += value * step.weight[kernel + i * kw + j];
              }
            }
          }
        }
      }
    }
    return { data: out, shape: [step.outputs, high, wide] };
  },
};

// The mean E[x] of each likelihood, from the decoder's output.
const MEANS = {
  gaussian: (step, input) => input,
  bernoulli: (step, input) => each(input, sigmoid),
  continuous_bernoulli: (step, input) => each(input, (x) => {
    const eta = step.bound * Math.tanh(x / step.bound);
    if (Math.abs(eta) < 0.2) {
      const square = eta * eta;
      return 0.5 + eta * (1 / 12 - square * (1 / 720 - square / 30240));
    }
    return 1 / (1 - Math.exp(-eta)) - 1 / eta;
  }),
  discretized_logistic: (step, input) => each(input, (loc, i) => {
    // edges farther away than this many scales count as 1 or as 0
    const intervals = step.levels - 1;
    const first = edgeBefore(loc - 14 * step.scale[i], intervals);
    const last = edgeBefore(loc + 14 * step.scale[i], intervals);
    let total = first;
    for (let k = first; k < last; k++) total += sigmoid((loc - (k + 0.5) / intervals) / step.scale[i]);
    return total / intervals;
  }),
  // log1p of the mean counts of a cell of 10,000 molecules; of proteins, which know no library, as they are
  counts: (step, { data }) => {
    const { genes, proteins } = step;
    const out = step.out ??= new Float32Array(genes + proteins);
    let most = step.outside ? 0 : -Infinity;
    for (let i = 0; i < genes; i++) most = Math.max(most, data[i]);
    let total = step.outside ? genes * Math.exp(-most) : 0;
    for (let i = 0; i < genes; i++) total += Math.exp(data[i] - most);
    for (let i = 0; i < genes; i++) {
      const kept = step.gated ? sigmoid(-data[genes + i]) : 1;
      out[i] = Math.log1p((1e4 * kept * Math.exp(data[i] - most)) / total);
    }
    return { data: withProteins(out, data, proteins), shape: [out.length] };
  },
  log_normal: (step, { data }) => {
    const genes = step.scale.length;
    const out = step.out ??= new Float32Array(genes + step.proteins);
    for (let i = 0; i < genes; i++) out[i] = Math.max(0, data[i] + step.scale[i]);
    return { data: withProteins(out, data, step.proteins), shape: [out.length] };
  },
};

function withProteins(out, data, proteins) {
  for (let i = 1; i <= proteins; i++) out[out.length - i] = Math.log1p(Math.exp(data[data.length - i]));
  return out;
}

// How many of the edges (k + ½) / intervals lie below x.
function edgeBefore(x, intervals) {
  return Math.min(intervals, Math.max(0, Math.ceil(x * intervals - 0.5)));
}

function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

function each(input, change) {
  const { data } = input;
  for (let i = 0; i < data.length; i++) data[i] = change(data[i], i);
  return input;
}

// E[x | z]; the array is used again by the next call.
function decode(run, z) {
  let value = { data: Float32Array.from(z), shape: [z.length] };
  for (const step of run.steps) value = (LAYERS[step.type] ?? MEANS[step.type])(step, value);
  return value.data;
}

// The weights of a run's steps from its bytes, in place.
function readSteps(steps, bytes) {
  for (const step of steps) {
    for (const name of ["weight", "bias", "scale"]) if (step[name]) step[name] = readArray(bytes, step[name]);
  }
  return steps;
}

return { inflate, readArray, readSteps, decode };
})();
