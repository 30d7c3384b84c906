// Code that a JIT compiler makes, optimises, throws away and makes again, with results that are known.
// node compute.js SECONDS: "ok N", or what was wrong.
'use strict';
const crypto = require('crypto');

const K = [];
const isPrime = (n) => { for (let i = 2; i * i <= n; i++) if (n % i === 0) return false; return true; };
for (let n = 2; K.length < 64; n++) if (isPrime(n)) K.push((Math.cbrt(n) % 1) * 0x100000000 | 0);

function sha256(bytes) {
  const h = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
  const padded = Buffer.alloc(((bytes.length + 8 >> 6) + 1) * 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  padded.writeUInt32BE(bytes.length * 8, padded.length - 4);
  const w = new Int32Array(64);
  const rotate = (x, n) => x >>> n | x << 32 - n;
  for (let at = 0; at < padded.length; at += 64) {
    for (let i = 0; i < 16; i++) w[i] = padded.readInt32BE(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >>> 3) + w[i - 7] +
             (rotate(b, 17) ^ rotate(b, 19) ^ b >>> 10) | 0;
    }
    let [a, b, c, d, e, f, g, k] = h;
    for (let i = 0; i < 64; i++) {
      const t = k + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (e & f ^ ~e & g) + K[i] + w[i] | 0;
      const u = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + (a & b ^ a & c ^ b & c) | 0;
      k = g; g = f; f = e; e = d + t | 0; d = c; c = b; b = a; a = t + u | 0;
    }
    [a, b, c, d, e, f, g, k].forEach((v, i) => { h[i] = h[i] + v | 0; });
  }
  return h.map((v) => (v >>> 0).toString(16).padStart(8, '0')).join('');
}

// New code each time, hot enough to be optimised; then a type it was not optimised for.
function generated(seed) {
  const f = new Function('n', `let s = ${seed}; for (let i = 0; i < n; i++) s = (s + i * ${seed % 97 + 1}) % 1000003; return s;`);
  let expected = seed;
  for (let i = 0; i < 20000; i++) expected = (expected + i * (seed % 97 + 1)) % 1000003;
  if (f(20000) !== expected) return `generated ${seed}: ${f(20000)}, not ${expected}`;
  const add = new Function('a', 'b', `return a + b + ${seed};`);
  let sum = 0;
  for (let i = 0; i < 20000; i++) sum = add(sum, i) - seed;
  if (sum !== 199990000) return `sum ${seed}: ${sum}`;
  return add('x', 1) === `x1${seed}` && add(0.5, 0.25) === 0.75 + seed ? null : `types ${seed}`;
}

// (module (func (export "f") (param i32) (result i32) local.get 0 i32.const C i32.mul))
function wasm(constant) {
  const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0,
    10, 9, 1, 7, 0, 32, 0, 65, constant, 108, 11];
  const f = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes))).exports.f;
  for (let i = 0; i < 1000; i++) if (f(i) !== i * constant) return `wasm ${constant}: f(${i}) = ${f(i)}`;
  return null;
}

const end = Date.now() + 1000 * Number(process.argv[2]);
let rounds = 0;
let wrong = null;
while (Date.now() < end && wrong === null) {
  const bytes = Buffer.alloc(1000 + rounds % 500, rounds & 255);
  const expected = crypto.createHash('sha256').update(bytes).digest('hex');
  const got = sha256(bytes);
  if (got !== expected) wrong = `sha256 ${rounds}: ${got}, not ${expected}`;
  wrong = wrong || generated(rounds * 7919 % 1000003) || wasm(rounds % 60 + 1);
  rounds++;
}
console.log(wrong || `ok ${rounds}`);
