// Sends a file to an address, with the progress that fetch does not tell.

export interface Sent {
  readonly status: number;
  /** The answer's JSON; null where it is none. */
  readonly body: unknown;
}

export type SendFault = 'failed' | 'refused';

export class SendError extends Error {
  override readonly name = 'SendError';
  /** @param status the answer's, or 0 where none came. */
  constructor(readonly fault: SendFault, readonly status: number, readonly body: unknown = null) {
    super(`${fault} (${status})`);
  }
}

/** Send it. A SendError is `refused` where trying again cannot help (the token is used up, wrong or late). */
export function send(file: Blob, address: string, token: string | null, timeoutMs: number, progress: (share: number) => void, stopped: AbortSignal): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', address);
    request.timeout = timeoutMs;
    if (token) request.setRequestHeader('Authorization', `Bearer ${token}`);
    request.setRequestHeader('Content-Type', file.type || 'application/octet-stream');
    request.upload.onprogress = event => progress(event.lengthComputable ? event.loaded / event.total : 0);
    request.onload = () => {
      const body = parsed(request.responseText);
      if (request.status < 300) return resolve({ status: request.status, body });
      return reject(new SendError(mayAgain(request.status, body) ? 'failed' : 'refused', request.status, body));
    };
    request.onerror = request.ontimeout = () => reject(new SendError('failed', 0));
    request.onabort = () => reject(new DOMException('stopped', 'AbortError'));
    stopped.addEventListener('abort', () => request.abort());
    request.send(file);
  });
}

/** A session of the service says itself whether its token still counts; of others the status tells. */
function mayAgain(status: number, body: unknown): boolean {
  const session = (body as { session_state?: string } | null)?.session_state;
  return session === undefined ? status >= 500 || status === 408 || status === 429 : session === 'waiting';
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
