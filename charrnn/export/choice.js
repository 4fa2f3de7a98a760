"use strict";
// The choice of a character from its logits, and the numbers that it is drawn by: sampling/sampler.py's rule, in float64.
// What may differ from it is the last digit of an exponential.

const MASK = (1n << 64n) - 1n;
const GOLDEN = 0x9E3779B97F4A7C15n, MIX_1 = 0xBF58476D1CE4E5B9n, MIX_2 = 0x94D049BB133111EBn;

/** Return number `number` (from 0) of the SplitMix64 sequence seeded with `key`, both BigInt (kernels/splitmix.py). */
function splitmix64(key, number) {
  let z = (key + number * GOLDEN + GOLDEN) & MASK;
  z = ((z ^ (z >> 30n)) * MIX_1) & MASK;
  z = ((z ^ (z >> 27n)) * MIX_2) & MASK;
  return z ^ (z >> 31n);
}

/** Return the key of a stream's draws, a BigInt; seed: a BigInt. */
const streamKey = (seed, stream) => splitmix64(seed, BigInt(stream));

/** Return the uniform draw in [0, 1) at a position of a stream. */
const uniform = (key, position) => Number(splitmix64(key, BigInt(position)) >> 11n) * 2 ** -53;

const ALL = { temperature: 1, top_k: null, top_p: 1, min_p: 0 };

function highestOf(logits) {
  let best = 0;
  for (let j = 1; j < logits.length; j++) if (logits[j] > logits[best]) best = j;
  return best;
}

/** Return the weight of each id as the settings have it, Float64Array (V): the likeliest 1, 0 of what is left out. */
function weigh(logits, { temperature, top_k, top_p, min_p }) {
  const V = logits.length, weights = new Float64Array(V), best = highestOf(logits);
  if (temperature === 0) {
    weights[best] = 1;
    return weights;
  }
  const highest = logits[best];
  for (let j = 0; j < V; j++) {
    const x = (logits[j] - highest) / temperature;
    weights[j] = x < -708 ? 0 : Math.exp(x);
  }
  const kept = Math.min(top_k ?? V, V);
  if (kept < V || top_p < 1) {
    const order = Array.from({ length: V }, (_, j) => j).sort((a, b) => logits[b] - logits[a]); // stable: lowest id first
    for (let j = kept; j < V; j++) weights[order[j]] = 0;
    if (top_p < 1) {
      let total = 0, reached = 0;
      for (const id of order) total += weights[id];
      for (let j = 0; j < V; j++) {
        const before = reached;
        reached += weights[order[j]];
        if (j > 0 && before >= top_p * total) weights[order[j]] = 0; // those before it have reached p
      }
    }
  }
  if (min_p > 0) for (let j = 0; j < V; j++) if (weights[j] < min_p) weights[j] = 0;
  return weights;
}

/** Return the id that a draw in [0, 1) chooses. */
function choose(logits, settings, draw) {
  if (settings.temperature === 0) return highestOf(logits);
  const weights = weigh(logits, settings), V = weights.length;
  let total = 0, cumulative = 0;
  for (let j = 0; j < V; j++) total += weights[j];
  const target = draw * total;
  for (let j = 0; j < V; j++) {
    cumulative += weights[j];
    if (cumulative > target) return j;
  }
  return highestOf(logits); // not reached: a draw is below 1
}

/** Return { p: probability of each id at temperature 1, logSum }, of the logits. */
function probabilities(logits) {
  const V = logits.length, p = new Float64Array(V), highest = logits[highestOf(logits)];
  let total = 0;
  for (let j = 0; j < V; j++) total += p[j] = Math.exp(logits[j] - highest);
  for (let j = 0; j < V; j++) p[j] /= total;
  return { p, logSum: highest + Math.log(total) };
}

/** Return the ids of the `count` largest of p, largest first, of equals the lowest. */
function likeliest(p, count) {
  const best = [];
  for (let j = 0; j < p.length; j++) {
    let place = best.length;
    while (place > 0 && p[j] > p[best[place - 1]]) place--;
    if (place < count) {
      best.splice(place, 0, j);
      if (best.length > count) best.pop();
    }
  }
  return best;
}
