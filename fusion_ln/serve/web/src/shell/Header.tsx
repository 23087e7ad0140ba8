import { useWords, isLanguage, LANGUAGES } from '../words/words';
import icon from '../icon.svg';
import { href, PAGES, usePage } from './route';
import { APPEARANCES, type Appearance } from './theme';

interface HeaderProps {
  appearance: Appearance;
  onAppearance: (next: string) => void;
  /** Show the way to the pages. */
  pages: boolean;
}

export function Header({ appearance, onAppearance, pages }: HeaderProps) {
  const { words, language, setLanguage } = useWords();
  const current = usePage();
  return (
    <div className="header">
      <a className="brand" href={href('patient')}>
        <img src={icon} alt="" width="28" height="28" />
        fusion_ln
      </a>
      {pages && (
        <nav aria-label={words.nav.label}>
          {PAGES.map((page) => (
            <a key={page} href={href(page)} aria-current={page === current ? 'page' : undefined}>
              {words.nav[page]}
            </a>
          ))}
        </nav>
      )}
      <div className="choices">
        <select
          aria-label={words.language}
          value={language}
          onChange={(event) => {
            if (isLanguage(event.target.value)) setLanguage(event.target.value);
          }}
        >
          {Object.entries(LANGUAGES).map(([key, each]) => (
            <option key={key} value={key} lang={key}>
              {each.name}
            </option>
          ))}
        </select>
        <select
          aria-label={words.theme.label}
          value={appearance}
          onChange={(event) => {
            onAppearance(event.target.value);
          }}
        >
          {APPEARANCES.map((each) => (
            <option key={each} value={each}>
              {words.theme[each]}
            </option>
          ))}
        </select>
      </div>
    </div>
  );
}
