import { type ReactNode, useEffect } from 'react';

/** A page's name in the window, the history, and to screen readers. */
export function useTitle(title: string | undefined): void {
  useEffect(() => {
    if (title !== undefined) {
      document.title = title === '' ? 'Stockroom' : `${title} · Stockroom`;
    }
  }, [title]);
}

export function Page({ title, className = '', children }: { title?: string; className?: string; children: ReactNode }) {
  useTitle(title);
  return (
    <main id="main" tabIndex={-1} className={`page ${className}`}>
      {children}
    </main>
  );
}

/** What is wrong with a form as a whole. */
export function Complaints({ of }: { of: readonly string[] }) {
  return of.length === 0 ? null : (
    <div className="complaints" role="alert">
      {of.map((text) => (
        <p key={text}>{text}</p>
      ))}
    </div>
  );
}
