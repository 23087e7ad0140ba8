import { Refusal } from '../api/client';
import type { Pixels } from './facts';

const LEAST_SIDE = 16; // pixels
const WEBP_EXIF = 8; // flag of the header
const MOST_PIXELS = 36_000_000;

/** Decode a picture to its own pixels, turned as its file says, transparency over black, no colours changed. */
export async function decode(file: File): Promise<Pixels> {
  const head = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  refuse(head);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  } catch {
    throw new Refusal('undecoded');
  }
  const { width, height } = bitmap;
  if (Math.min(width, height) < LEAST_SIDE) {
    throw new Refusal('too-small', `${width} x ${height}`);
  }
  if (width * height > MOST_PIXELS) {
    throw new Refusal('too-large', `${width} x ${height}`);
  }
  const pen = new OffscreenCanvas(width, height).getContext('2d', { alpha: false, willReadFrequently: true });
  if (!pen) throw new Refusal('no-canvas');
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = pen.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    rgb[to] = data[from] ?? 0;
    rgb[to + 1] = data[from + 1] ?? 0;
    rgb[to + 2] = data[from + 2] ?? 0;
  }
  return { width, height, rgb };
}

/** Refuse by its first bytes what no browser decodes, or not as `fusionln` does. */
function refuse(head: Uint8Array): void {
  const text = (from: number, to: number): string => String.fromCharCode(...head.subarray(from, to));
  if (head.length === 0) throw new Refusal('empty');
  if (text(128, 132) === 'DICM') throw new Refusal('dicom');
  if (text(0, 4) === 'II*\0' || text(0, 4) === 'MM\0*') throw new Refusal('tiff');
  if (text(0, 4) === 'RIFF' && text(8, 16) === 'WEBPVP8X' && ((head[20] ?? 0) & WEBP_EXIF) !== 0) {
    throw new Refusal('webp');
  }
  if (text(1, 4) === 'PNG' && (head[24] ?? 0) > 8) throw new Refusal('too-deep', `${head[24] ?? 0} > 8`);
}
