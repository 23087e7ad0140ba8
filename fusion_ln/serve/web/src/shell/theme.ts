import { theme, type ThemeConfig } from 'antd';
import { useEffect, useSyncExternalStore } from 'react';
import { useStored } from './stored';

export const APPEARANCES = ['auto', 'light', 'dark'] as const;
export type Appearance = (typeof APPEARANCES)[number];

const system = window.matchMedia('(prefers-color-scheme: dark)');

function follow(onChange: () => void): () => void {
  system.addEventListener('change', onChange);
  return () => {
    system.removeEventListener('change', onChange);
  };
}

export function useAppearance(): { appearance: Appearance; dark: boolean; choose: (next: string) => void } {
  const [stored, choose] = useStored('fusion_ln.appearance');
  const systemDark = useSyncExternalStore(follow, () => system.matches);
  const appearance = APPEARANCES.find((each) => each === stored) ?? 'auto';
  const dark = appearance === 'auto' ? systemDark : appearance === 'dark';
  useEffect(() => {
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  }, [dark]);
  return { appearance, dark, choose };
}

/** Tokens of Ant Design; the variables of `style/base.css` are their counterpart. */
export function antTheme(dark: boolean): ThemeConfig {
  const accent = dark ? '#5ec8cf' : '#0f6e78';
  return {
    algorithm: dark ? theme.darkAlgorithm : theme.defaultAlgorithm,
    token: {
      colorPrimary: accent,
      colorInfo: accent,
      colorLink: accent,
      colorBgContainer: dark ? '#162024' : '#ffffff',
      colorText: dark ? '#e6eef0' : '#17262b',
      colorTextSecondary: dark ? '#a3b5bb' : '#52666d',
      colorTextPlaceholder: dark ? '#a3b5bb' : '#52666d',
      colorBorder: dark ? '#3a4a51' : '#c9d4d8',
      borderRadius: 10,
      controlHeight: 40,
      fontFamily: 'inherit',
      motionDurationMid: '0.15s',
    },
    components: {
      Button: {
        primaryColor: dark ? '#06282c' : '#ffffff',
        colorPrimary: accent,
        colorPrimaryHover: dark ? '#86d9de' : '#0b5a62',
        colorPrimaryActive: dark ? '#86d9de' : '#084950',
        algorithm: false,
        primaryShadow: 'none',
        defaultShadow: 'none',
      },
      Slider: {
        trackBg: accent,
        trackHoverBg: accent,
        railBg: dark ? '#33444b' : '#d5dfe2',
        railHoverBg: dark ? '#33444b' : '#d5dfe2',
        handleColor: accent,
        handleActiveColor: accent,
      },
      Segmented: {
        itemSelectedBg: dark ? '#29373d' : '#ffffff',
        itemSelectedColor: dark ? '#e6eef0' : '#17262b', 
        itemColor: dark ? '#a3b5bb' : '#52666d',
        trackBg: dark ? '#0e1518' : '#eaf0f2',
      },
    },
  };
}
