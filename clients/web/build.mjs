// node build.mjs dist: the npm package. node build.mjs page FOLDER: the page of the service, into FOLDER.
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';

const here = new URL('.', import.meta.url).pathname;
const served = `${here}../../service/liveness_service/web/`;
const common = {
  absWorkingDir: here, bundle: true, minify: true, format: 'esm', target: ['es2022', 'safari16.4'], logLevel: 'warning', legalComments: 'none', charset: 'utf8',
  banner: { js: '/* face-liveness, Apache-2.0. Made from clients/web by `make web`. */' },
};

if (process.argv[2] === 'dist') {
  const folder = process.argv[3] ?? `${here}dist`;
  await build({ ...common, entryPoints: ['src/index.ts', 'src/client.ts'], outdir: folder });
  await copyFile(`${served}yunet.bin`, `${folder}/yunet.bin`);
} else {
  const folder = process.argv[3] ?? served;
  await mkdir(folder, { recursive: true });
  await build({ ...common, entryPoints: { page: 'page/main.ts' }, outdir: folder });
  await build({ ...common, banner: { css: common.banner.js }, entryPoints: ['page/page.css'], outdir: folder });
  const html = await readFile(`${here}page/index.html`, 'utf8');
  await writeFile(`${folder}/index.html`, html.replace(/<!--.*?-->/gs, '').replace(/^\s+/gm, ''));
}
