// What the last response cost, what the cache did, and how long it took, from the response's `extensions`.
import { useState, useSyncExternalStore } from 'react';

import { useUser } from './session';

export interface Extensions {
  cost?: { requested: number; actual: number };
  rateLimit?: { capacity: number; available: number; restorePerSecond: number };
  cache?: 'HIT' | 'STORED' | 'PASSED';
  timing?: { micros: number };
}

export interface Report {
  status: number;
  extensions: Extensions;
  /** From sending the request to having all of the response. */
  millis: number;
  bytes: number;
}

let last: Report | undefined;
const listeners = new Set<() => void>();

export function tell(report: Report): void {
  last = report;
  listeners.forEach((listener) => listener());
}

const DECISIONS = {
  HIT: 'Remembered as a whole, and nothing it depends on has changed since',
  STORED: 'Made now, and remembered for the next who asks',
  PASSED: 'Not kept: it depends on the viewer, or is a change or an error',
} as const;

const number = (value: number, digits = 0): string => value.toLocaleString('en', { maximumFractionDigits: digits });

export function ReportBar() {
  const report = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => last,
  );
  const user = useUser();
  const [isOpen, setOpen] = useState(false);
  const { cost, cache, timing, rateLimit } = report?.extensions ?? {};
  const who = user ? `${user.name ?? user.email} (${user.role})` : 'nobody is signed in';
  return (
    <section className="report" aria-label="Report">
      <button type="button" className="report-line" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <span>Cost {cost ? number(cost.actual) : '–'}</span>
        <span>Cache {cache?.toLowerCase() ?? '–'}</span>
        <span>{timing ? `${number(timing.micros / 1000, 2)} ms` : '– ms'}</span>
        <span className="report-who">{who}</span>
      </button>
      {isOpen && (
        <dl className="report-details">
          <dt>Cost</dt>
          <dd>{cost ? `${number(cost.actual)} of at most ${number(cost.requested)}` : 'not told'}</dd>
          <dt>Budget</dt>
          <dd>
            {rateLimit
              ? `${number(rateLimit.available)} of ${number(rateLimit.capacity)}, ${number(rateLimit.restorePerSecond)} come back in a second`
              : 'not limited'}
          </dd>
          <dt>Cache</dt>
          <dd>{cache ? DECISIONS[cache] : 'not told'}</dd>
          <dt>Server</dt>
          <dd>{timing ? `${number(timing.micros / 1000, 2)} ms` : 'not told'}</dd>
          <dt>Round trip</dt>
          <dd>{report ? `${number(report.millis, 1)} ms, ${number(report.bytes)} bytes` : '–'}</dd>
          <dt>Status</dt>
          <dd>{report?.status ?? '–'}</dd>
        </dl>
      )}
    </section>
  );
}
