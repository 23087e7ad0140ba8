import type { ReactNode } from 'react';

interface NoteProps {
  kind: 'plain' | 'warn' | 'bad';
  title: ReactNode;
  children?: ReactNode;
  /** Read out at once. */
  alert?: boolean;
}

/** A remark that stands out from the text around it. */
export function Note({ kind, title, children, alert = false }: NoteProps) {
  return (
    <div className={`note note-${kind}`} role={alert ? 'alert' : undefined}>
      <span className="note-mark" aria-hidden="true">
        {kind === 'plain' ? 'i' : '!'}
      </span>
      <div className="note-text">
        <p className="note-title">{title}</p>
        {children}
      </div>
    </div>
  );
}
