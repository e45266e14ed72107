import { Link, useSearch } from 'wouter';

import { Icon } from '../ui/icons';

/** The numbers that are worth a link, and gaps (null) between them. */
export function numbers(page: number, of: number): (number | null)[] {
  const near = [1, page - 1, page, page + 1, of].filter((one) => one >= 1 && one <= of);
  const wanted = [...new Set(near)].sort((a, b) => a - b);
  return wanted.flatMap((one, index) => (index > 0 && one - (wanted[index - 1] ?? one) > 1 ? [null, one] : [one]));
}

interface PagesProps {
  page: number;
  /** The last of the pages that are shown below one another. */
  through?: number;
  of: number;
}

export function Pages({ page, through = page, of }: PagesProps) {
  const search = useSearch();
  const to = (number: number) => {
    const parameters = new URLSearchParams(search);
    parameters.delete('page');
    if (number > 1) {
      parameters.set('page', String(number));
    }
    return `?${parameters}`;
  };
  if (of < 2) {
    return null;
  }
  return (
    <ol className="pages">
      <li>
        {page > 1 && (
          <Link className="pages-link" href={to(page - 1)} aria-label="The page before">
            <Icon name="left" />
          </Link>
        )}
      </li>
      {numbers(page, of).map((number, index) => (
        <li key={number ?? `gap-${index}`}>
          {number === null ? (
            <span className="pages-gap">…</span>
          ) : (
            <Link
              className="pages-link"
              href={to(number)}
              aria-label={`Page ${number}`}
              aria-current={number >= page && number <= through ? 'page' : undefined}
              onClick={() => window.scrollTo({ top: 0 })}
            >
              {number}
            </Link>
          )}
        </li>
      ))}
      <li>
        {through < of && (
          <Link className="pages-link" href={to(through + 1)} aria-label="The next page" onClick={() => window.scrollTo({ top: 0 })}>
            <Icon name="right" />
          </Link>
        )}
      </li>
    </ol>
  );
}
