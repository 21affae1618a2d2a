// The same call for a terminal, Python and JavaScript, with what is chosen on the page.

import { byId } from './dom.js';

export interface Call {
  readonly kind: 'photo' | 'clip';
  readonly query: string;
  readonly key: boolean;
}

const LANGUAGES = ['curl', 'python', 'javascript'] as const;
let language: (typeof LANGUAGES)[number] = 'curl';
let last: Call = { kind: 'photo', query: '', key: false };

function written({ kind, query, key }: Call): string {
  const address = new URL((kind === 'clip' ? 'v1/liveness/video' : 'v1/liveness') + (query && `?${query}`), document.baseURI).href;
  const file = kind === 'clip' ? 'clip.webm' : 'photo.jpg';
  if (language === 'curl') return `curl -F ${kind === 'clip' ? 'video' : 'image'}=@${file}${key ? ' \\\n  -H "Authorization: Bearer $KEY"' : ''} \\\n  '${address}'`;
  if (language === 'python') {
    return `import httpx\n\nwith open("${file}", "rb") as file:\n    answer = httpx.post(\n        "${address}",\n        content=file.read(),${key ? '\n        headers={"Authorization": f"Bearer {KEY}"},' : ''}\n        timeout=30,\n    )\nanswer.raise_for_status()\nprint(answer.json()["verdict"])`;
  }
  return `import { readFile } from "node:fs/promises";\n\nconst answer = await fetch("${address}", {\n  method: "POST",\n  body: await readFile("${file}"),${key ? '\n  headers: { Authorization: `Bearer ${process.env.KEY}` },' : ''}\n});\nconsole.log((await answer.json()).verdict);`;
}

/** Show the call. */
export function showCall(call: Call = last): void {
  last = call;
  byId('code').textContent = written(call);
}

/** Make the tabs and the button that copies work. */
export function prepareCalls(): void {
  const tabs = LANGUAGES.map(name => byId(`tab-${name}`));
  const choose = (index: number): void => {
    language = LANGUAGES[index]!;
    for (const [other, tab] of tabs.entries()) {
      tab.setAttribute('aria-selected', String(other === index));
      tab.tabIndex = other === index ? 0 : -1;
    }
    byId('code-box').setAttribute('aria-labelledby', tabs[index]!.id);
    showCall();
  };
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener('click', () => choose(index));
    tab.addEventListener('keydown', event => {
      const step = { ArrowRight: 1, ArrowLeft: tabs.length - 1 }[event.key];
      if (step === undefined) return;
      const next = (index + step) % tabs.length;
      choose(next);
      tabs[next]!.focus();
    });
  }
  byId('copy').addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(byId('code').textContent ?? '');
      byId('copy').textContent = 'Copied';
    } catch {  // not on plain HTTP: the text is selected instead
      getSelection()?.selectAllChildren(byId('code'));
      byId('copy').textContent = 'Selected: press Ctrl+C';
    }
    setTimeout(() => { byId('copy').textContent = 'Copy'; }, 2500);
  });
  showCall();
}
