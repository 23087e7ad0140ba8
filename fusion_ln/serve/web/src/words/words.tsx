import { createContext, use, useEffect, useMemo, type ReactNode } from 'react';
import { useStored } from '../shell/stored';
import { en, type Words } from './en';
import { zh } from './zh';

export const LANGUAGES = { en, zh } as const;
export type Language = keyof typeof LANGUAGES;
const TAGS: Record<Language, string> = { en: 'en', zh: 'zh-CN' };

/** Least share that is written as such. */
const LEAST = 0.001;

interface Speech {
  words: Words;
  language: Language;
  setLanguage: (language: Language) => void;
  /** Name of a class or a modality in the reader's language. */
  title: (name: string, titles: Record<string, string>) => string;
  /** A share in percent; only 0 and 1 themselves are written as 0% and 100%. */
  percent: (share: number) => string;
  number: (value: number) => string;
  /** Difference of two shares in percentage points, always with its sign. */
  points: (difference: number) => string;
  /** A day and its time. */
  moment: (date: Date) => string;
}

const Context = createContext<Speech | null>(null);

function preferred(): Language {
  return navigator.language.startsWith('zh') ? 'zh' : 'en';
}

export function isLanguage(text: string): text is Language {
  return text in LANGUAGES;
}

export function speak(language: Language): Omit<Speech, 'setLanguage'> {
  const words = LANGUAGES[language];
  const tag = TAGS[language];
  const percent = new Intl.NumberFormat(tag, { style: 'percent', maximumFractionDigits: 0 });
  const small = new Intl.NumberFormat(tag, { style: 'percent', maximumFractionDigits: 1 });
  const points = new Intl.NumberFormat(tag, { maximumFractionDigits: 1, signDisplay: 'exceptZero' });
  const plain = new Intl.NumberFormat(tag);
  const moment = new Intl.DateTimeFormat(tag, { dateStyle: 'long', timeStyle: 'short' });
  return {
    words,
    language,
    title: (name, titles) => words.names[name] ?? titles[name] ?? name,
    percent: (share) => {
      if (share > 0 && share < LEAST) return `<${small.format(LEAST)}`; // nothing is ruled out by rounding
      if (share > 1 - LEAST && share < 1) return `>${small.format(1 - LEAST)}`;
      return (share > 0.01 && share < 0.99 ? percent : small).format(share);
    },
    number: (value) => plain.format(value),
    points: (difference) => points.format(100 * difference),
    moment: (date) => moment.format(date),
  };
}

export function Speaker({ children }: { children: ReactNode }) {
  const [stored, setLanguage] = useStored('fusion_ln.language');
  const language = isLanguage(stored) ? stored : preferred();
  const speech = useMemo(() => ({ ...speak(language), setLanguage }), [language, setLanguage]);
  useEffect(() => {
    document.documentElement.lang = TAGS[language];
  }, [language]);
  return <Context value={speech}>{children}</Context>;
}

export function useWords(): Speech {
  const speech = use(Context);
  if (!speech) throw new Error('useWords outside Speaker');
  return speech;
}
