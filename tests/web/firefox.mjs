// The page of a service in Firefox, step by step: node firefox.mjs ADDRESS BROWSER FRAMES.json. Prints what was seen, as JSON.
//
// Its camera shows the frames again and again, and below them a bar that grows by a sixteenth of the picture each second: what a
// thumbnail was taken of can be read from it.
import { readFile } from 'node:fs/promises';
import puppeteer from 'puppeteer-core';

const [address, executablePath, file] = process.argv.slice(2);
const frames = JSON.parse(await readFile(file, 'utf8'));
const camera = files => {
  if (!navigator.mediaDevices) return;  // of a page that is not secure, as about:blank
  const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 480 });
  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const shown = Promise.all(files.map(text => createImageBitmap(new Blob([bytes(text)], { type: 'image/jpeg' }))));
  navigator.mediaDevices.getUserMedia = async () => {
    const [pictures, context] = [await shown, canvas.getContext('2d')];
    setInterval(() => {
      const now = performance.now();
      context.drawImage(pictures[Math.floor(now / 33) % pictures.length], 0, 0);
      context.fillStyle = 'black';
      context.fillRect(0, 440, 640, 40);
      context.fillStyle = 'white';
      context.fillRect(0, 440, (now / 1000 % 16) * 40, 40);
    }, 33);
    return canvas.captureStream(30);
  };
};

const browser = await puppeteer.launch({ browser: 'firefox', executablePath, headless: true, args: ['--no-sandbox'] });
const told = [];
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 1000, height: 900 });
  page.on('console', message => message.type() === 'error' && told.push(message.text()));
  page.on('pageerror', error => told.push(String(error)));
  await page.evaluateOnNewDocument(camera, frames);
  const until = async ready => {
    for (const end = Date.now() + 60_000; !await page.evaluate(ready);) {
      if (Date.now() > end) throw new Error(`in vain: ${ready}; ${told}`);
      await new Promise(go => setTimeout(go, 50));
    }
  };
  const verdict = async click => {
    await page.goto(address);
    await page.evaluate(click);
    await until(() => ['live', 'spoof', 'undetermined', 'error'].includes(document.querySelector('#verdict').dataset.kind));
    return page.evaluate(() => document.querySelector('#word').textContent);
  };
  const open = () => {
    const capture = document.querySelector('face-liveness-capture');
    if (location.hash === '#clip') {
      [...document.querySelectorAll('input[type=radio]')].find(radio => radio.value === 'clip').click();
      capture.setAttribute('seconds', '3');
    }
    [...capture.shadowRoot.querySelectorAll('button')].find(button => button.textContent.includes('Open the camera')).click();
  };
  const found = { browser: await browser.version() };
  found.sample = await verdict(() => document.querySelector('[data-sample]').click());
  found.photo = await verdict(open);
  await page.evaluate(() => { location.hash = '#clip'; });
  await page.evaluate(open);
  await until(() => document.querySelector('#code').textContent.includes('v1/liveness/video'));
  await until(() => document.querySelectorAll('#strip [aria-pressed=true]').length === 1);
  found.answer = JSON.parse(await page.evaluate(() => document.querySelector('#json').textContent));
  const bars = () => [...document.querySelectorAll('#strip canvas')].map(small => {
    const row = small.getContext('2d').getImageData(0, small.height - 3, small.width, 1).data;
    return row.filter((value, at) => at % 4 === 0 && value > 128).length / small.width * 16;
  });
  await until(() => [...document.querySelectorAll('#strip canvas')].every(small => small.getContext('2d').getImageData(0, 0, 1, 1).data[3]));
  found.shown_s = await page.evaluate(bars);
  console.log(JSON.stringify({ ...found, told }));
} finally {
  await browser.close();
}
