// A client of the service for Node and browsers, typed from the service's own description of its API.

import type { components } from './openapi.js';

export type Photo = components['schemas']['LivenessResponse'];
export type Clip = components['schemas']['ClipResponse'];
export type Model = components['schemas']['ModelDetails'];
export type ReasonDetails = components['schemas']['ReasonDetails'];
export type Problem = components['schemas']['Problem'];

export type SessionWanted = components['schemas']['SessionWanted'];
export type Session = components['schemas']['SessionOut'];
export type SessionResult = components['schemas']['SessionResultOut'];
export type Uploaded = components['schemas']['UploadedOut'];

export interface Options {
  /** The access key, where the service asks for one. Never put one into a page of others. */
  readonly key?: string;
  /** Longest wait for one answer, milliseconds (default 30,000). */
  readonly timeoutMs?: number;
  /** Further tries after an answer that says that nothing was done (default 2). */
  readonly retries?: number;
  /** Longest `Retry-After` that is waited for, seconds (default 20); a longer one is an error at once. */
  readonly maxRetryAfterS?: number;
  readonly fetch?: typeof fetch;
}

export interface ScoreOptions {
  readonly operatingPoint?: string;
  readonly faces?: 'single' | 'largest' | 'all';
  /** Adds a heat map. */
  readonly explain?: boolean;
  readonly signal?: AbortSignal;
}

export type Media = Blob | ArrayBuffer | Uint8Array;

/** The one error of this client. `code` is the service's (docs/api.md), or `network`, `timeout`, `unreadable_answer`. */
export class LivenessError extends Error {
  override readonly name = 'LivenessError';
  constructor(
    readonly code: string,
    message: string,
    /** 0 where no answer came. */
    readonly status: number = 0,
    /** What the service asked to wait, seconds. */
    readonly retryAfterS: number | undefined = undefined,
    readonly requestId: string | undefined = undefined,
    readonly problem: Problem | undefined = undefined,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

interface Call {
  readonly method?: 'GET' | 'POST';
  readonly body?: BodyInit | Media;
  readonly type?: string | undefined;
  readonly bearer?: string | undefined;
  readonly query?: Record<string, string | undefined>;
  readonly signal?: AbortSignal | undefined;
  /** Whether it may be sent again where nobody knows if it arrived. */
  readonly harmless?: boolean;
}

export class LivenessClient {
  private readonly base: string;
  private readonly fetch: typeof fetch;

  /** @param url where the service is, with its path prefix if it has one. */
  constructor(url: string | URL, private readonly options: Options = {}) {
    this.base = String(url).replace(/\/*$/, '/');
    this.fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
  }

  /** Score a photo. Sending it again does no harm, so a lost connection is tried again too. */
  scorePhoto(photo: Media, options: ScoreOptions = {}): Promise<Photo> {
    return this.call('v1/liveness', { body: photo, query: queryOf(options), signal: options.signal, harmless: true });
  }

  /** Score a clip. */
  scoreClip(clip: Media, options: ScoreOptions = {}): Promise<Clip> {
    return this.call('v1/liveness/video', { body: clip, query: queryOf(options), signal: options.signal, harmless: true });
  }

  /** What scores here: operating points with their error rates, limits of quality. */
  async models(): Promise<Model[]> {
    return (await this.call<{ models: Model[] }>('v1/models', { method: 'GET', harmless: true })).models;
  }

  /** What each reason means, and what to tell the person. */
  async reasons(): Promise<ReasonDetails[]> {
    return (await this.call<{ reasons: ReasonDetails[] }>('v1/reasons', { method: 'GET', harmless: true })).reasons;
  }

  /** Ask for a capture session (back end, with its key). */
  createSession(wanted: SessionWanted): Promise<Session> {
    return this.call('v1/sessions', { body: JSON.stringify(wanted), type: 'application/json' });
  }

  /** Send the file of a session (browser, with the session's token). It counts once, so a lost connection is not tried again. */
  upload(session: Pick<Session, 'upload_url' | 'token'>, file: Media): Promise<Uploaded> {
    return this.call(session.upload_url, { body: file, bearer: session.token });
  }

  /** The verdict of a session (back end, with its key). The service gives it once. */
  session(sessionId: string): Promise<SessionResult> {
    return this.call(`v1/sessions/${encodeURIComponent(sessionId)}`, { method: 'GET' });
  }

  private async call<Answer>(path: string, call: Call): Promise<Answer> {
    const retries = this.options.retries ?? 2;
    for (let tried = 0; ; tried++) {
      try {
        return await this.once<Answer>(path, call);
      } catch (error) {
        const wait = error instanceof LivenessError ? this.waitS(error, call, tried) : undefined;
        if (wait === undefined || tried >= retries || call.signal?.aborted) throw error;
        await pause(wait * 1000, call.signal);
      }
    }
  }

  /** Seconds until the next try; undefined where there must be none. */
  private waitS(error: LivenessError, call: Call, tried: number): number | undefined {
    const usual = 0.25 * 2 ** tried;
    if (error.status === 429 || error.status === 503) {  // said before anything was done
      if (error.retryAfterS === undefined) return error.status === 503 && error.code !== 'overloaded' ? undefined : usual;
      return error.retryAfterS <= (this.options.maxRetryAfterS ?? 20) ? error.retryAfterS : undefined;
    }
    return error.code === 'network' && call.harmless ? usual : undefined;
  }

  private async once<Answer>(path: string, call: Call): Promise<Answer> {
    const address = new URL(path, this.base);
    for (const [name, value] of Object.entries(call.query ?? {})) if (value !== undefined) address.searchParams.set(name, value);
    const headers: Record<string, string> = { Accept: 'application/json' };
    const key = call.bearer ?? this.options.key;
    if (key) headers.Authorization = `Bearer ${key}`;
    const type = call.type ?? (call.body instanceof Blob && call.body.type ? call.body.type : 'application/octet-stream');
    if (call.body !== undefined) headers['Content-Type'] = type;
    const timeout = AbortSignal.timeout(this.options.timeoutMs ?? 30_000);
    const ended = new AbortController();
    const end = (): void => ended.abort(timeout.aborted ? timeout.reason : call.signal?.reason);
    timeout.addEventListener('abort', end);
    call.signal?.addEventListener('abort', end);
    if (call.signal?.aborted) end();
    let answer: Response;
    let text: string;
    try {
      answer = await this.fetch(address, { method: call.method ?? 'POST', headers, body: (call.body ?? null) as BodyInit | null, signal: ended.signal, redirect: 'error' });
      text = await answer.text();
    } catch (error) {
      if (call.signal?.aborted) throw error;
      if (timeout.aborted) throw new LivenessError('timeout', 'no answer in time', 0, undefined, undefined, undefined, { cause: error });
      throw new LivenessError('network', 'no answer from the service', 0, undefined, undefined, undefined, { cause: error });
    } finally {
      call.signal?.removeEventListener('abort', end);
    }
    const requestId = answer.headers.get('X-Request-ID') ?? undefined;
    let content: unknown;
    try {
      content = JSON.parse(text);
    } catch (error) {
      throw new LivenessError('unreadable_answer', `an answer with status ${answer.status} that is no JSON`, answer.status, seconds(answer), requestId, undefined, { cause: error });
    }
    if (answer.ok) return content as Answer;
    const problem = content as Problem;
    throw new LivenessError(problem.code ?? 'unreadable_answer', problem.detail ?? problem.title ?? answer.statusText, answer.status, seconds(answer), requestId, problem);
  }
}

const queryOf = ({ operatingPoint, faces, explain }: ScoreOptions): Record<string, string | undefined> =>
  ({ operating_point: operatingPoint, faces, explain: explain ? 'true' : undefined });

function seconds(answer: Response): number | undefined {
  const value = Number.parseFloat(answer.headers.get('Retry-After') ?? '');
  return Number.isFinite(value) ? value : undefined;
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}
