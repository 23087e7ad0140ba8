import type { CautionCode } from '../api/types';
import type { Words } from '../words/en';

/** Warnings of an answer, a picture or a model. */
export interface Cautions {
  warnings: string[];
  warning_codes: (CautionCode | null)[];
}

/** A warning in the reader's language; `original` holds what is not said in it. */
export interface SaidCaution {
  text: string;
  said: string;
  original: string;
}

/** Warnings that say the same each time; the others name a picture. */
const FIXED = new Set<CautionCode>(['no-device', 'simulated', 'paper', 'not-checked', 'keeps-uploads']);

/** Say warnings in the reader's language; a server's English follows where that is another. */
export function sayCautions({ warnings, warning_codes }: Cautions, words: Words): SaidCaution[] {
  return warnings.map((text, n) => {
    const code = warning_codes[n];
    if (words.serverCautions === null) return { text, said: text, original: '' };
    if (!code) return { text, said: '', original: text };
    return { text, said: words.serverCautions[code], original: FIXED.has(code) ? '' : text };
  });
}
