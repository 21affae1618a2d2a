// The camera: how it is opened, what its errors mean, and how a photo and a clip are taken at its own quality.

export type CameraFault = 'denied' | 'no_camera' | 'busy' | 'insecure' | 'unsupported';

export interface Shot {
  readonly file: Blob;
  readonly kind: 'photo' | 'clip';
  /** Pixels; 0 where a file was chosen, which is handed on unread. */
  readonly width: number;
  readonly height: number;
}

/** A camera that did not open, with the reason. */
export class CameraError extends Error {
  override readonly name = 'CameraError';
  constructor(readonly fault: CameraFault, cause?: unknown) {
    super(fault, { cause });
  }
}

const FAULTS: Readonly<Record<string, CameraFault>> = {
  NotAllowedError: 'denied',
  SecurityError: 'denied',
  NotFoundError: 'no_camera',
  OverconstrainedError: 'no_camera',
  DevicesNotFoundError: 'no_camera',
  NotReadableError: 'busy',
  TrackStartError: 'busy',
  AbortError: 'busy',
};

/** Open a camera. 1280x960 is asked for, and what the camera has is taken. */
export async function openCamera(facing: string): Promise<MediaStream> {
  if (!navigator.mediaDevices?.getUserMedia) throw new CameraError(window.isSecureContext ? 'unsupported' : 'insecure');
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: facing, width: { ideal: 1280 }, height: { ideal: 960 }, frameRate: { ideal: 30 } },
    });
  } catch (error) {
    throw new CameraError(FAULTS[(error as DOMException).name] ?? 'unsupported', error);
  }
}

/** Whether the picture is shown as in a mirror: yes, unless the camera looks away from the person. */
export const isMirrored = (stream: MediaStream): boolean =>
  stream.getVideoTracks()[0]?.getSettings().facingMode !== 'environment';

/** The frame that is shown now, in all of the track's pixels, not mirrored, as a JPEG that is hardly compressed. */
export async function takePhoto(video: HTMLVideoElement): Promise<Shot> {
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext('2d')!.drawImage(video, 0, 0);
  const file = await new Promise<Blob | null>(resolve => canvas.toBlob(resolve, 'image/jpeg', 0.97));
  if (!file) throw new Error('the browser made no picture');
  return { file, kind: 'photo', width: canvas.width, height: canvas.height };
}

// What the service takes. VP8 first: it costs phones the least. Safari records MP4 with H.264 only.
const FORMATS = ['video/webm;codecs=vp8', 'video/webm;codecs=vp9', 'video/webm', 'video/mp4;codecs=avc1.42E01E', 'video/mp4'];

/** The format in which this browser records, or none. */
export const recordingFormat = (): string | undefined =>
  typeof MediaRecorder === 'undefined' ? undefined : FORMATS.find(format => MediaRecorder.isTypeSupported(format));

/** A clip being recorded. `stop` ends it and gives the file, `drop` ends it and gives nothing. */
export class Recording {
  /** When the first frames were written, milliseconds: a slow machine needs a while from `start` to there. */
  began: number | undefined;
  private readonly parts: Blob[] = [];
  private readonly recorder: MediaRecorder;
  private readonly ended: Promise<void>;

  constructor(stream: MediaStream, format: string, private readonly width: number, private readonly height: number) {
    // Several times what the service needs at least: coders leave blocks in a face that moves.
    const bits = Math.min(Math.max(width * height * 8, 2_500_000), 10_000_000);
    this.recorder = new MediaRecorder(stream, { mimeType: format, videoBitsPerSecond: bits });
    const inParts = format.includes('webm');
    const begin = (): void => { this.began ??= performance.now(); };
    this.recorder.addEventListener('dataavailable', event => {
      this.parts.push(event.data);
      if (event.data.size) begin();
    });
    if (!inParts) this.recorder.addEventListener('start', begin);
    this.ended = new Promise(resolve => this.recorder.addEventListener('stop', () => resolve()));
    if (inParts) this.recorder.start(100);
    else this.recorder.start();
  }

  async stop(): Promise<Shot> {
    this.drop();
    await this.ended;
    const type = this.recorder.mimeType.split(';')[0] || 'video/webm';
    const file = new Blob(this.parts, { type });
    // WebKitGTK says that it records, and writes nothing where GStreamer's parts do not go together.
    if (file.size === 0) throw new CameraError('unsupported');
    return { file, kind: 'clip', width: this.width, height: this.height };
  }

  drop(): void {
    if (this.recorder.state !== 'inactive') this.recorder.stop();
  }
}
