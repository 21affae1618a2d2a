// @vladmandic/human behind Node's own HTTP server: node human_service.mjs PORT MODULES
// MODULES: a folder with node_modules, see package.json beside this file. `human.antispoof` and `human.liveness` answer.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const [port, folder] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(folder), 'package.json'));
const modules = path.join(path.resolve(folder), 'node_modules');
// Its models lie in its package, and Node's fetch reads no files.
globalThis.fetch = async (url) => new Response(fs.readFileSync(fileURLToPath(url)));
const tf = require('@tensorflow/tfjs');
const wasm = require('@tensorflow/tfjs-backend-wasm');
const sharp = require('sharp');
wasm.setWasmPaths(path.join(modules, '@tensorflow/tfjs-backend-wasm/dist/'));
sharp.concurrency(1);
const { Human } = require(path.join(modules, '@vladmandic/human/dist/human.node-wasm.js'));
const off = { enabled: false };
const human = new Human({
  backend: 'wasm',
  modelBasePath: `file://${modules}/@vladmandic/human/models/`,
  wasmPath: path.join(modules, '@tensorflow/tfjs-backend-wasm/dist/'),
  cacheSensitivity: 0,
  filter: off, gesture: off, body: off, hand: off, object: off, segmentation: off,
  face: {
    enabled: true, detector: { rotation: false, maxDetected: 1 }, mesh: off, iris: off, attention: off, emotion: off,
    description: off, antispoof: { enabled: true }, liveness: { enabled: true },
  },
});
await tf.setBackend('wasm');
await tf.ready();
await human.load();

async function answer(photo) {
  const { data, info } = await sharp(photo).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const tensor = human.tf.tensor(data, [1, info.height, info.width, 3], 'float32');
  const found = await human.detect(tensor);
  human.tf.dispose(tensor);
  return found.face.map((face) => ({ real: face.real, live: face.live }));
}

http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', async () => {
    try {
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify(await answer(Buffer.concat(parts))));
    } catch (error) {
      response.statusCode = 500;
      response.end(String(error));
    }
  });
}).listen(Number(port), '127.0.0.1', () => console.log('ready'));
