import { memo, type ReactElement, useState } from 'react';

import type { CardFragment } from '../gql/graphql';
import { palette } from './palette';
import { EMBLEMS, THINGS } from './things';

/** Aisles have their colours, whatever order they stand in. */
const AISLES = ['furniture', 'lighting', 'kitchen', 'outdoor', 'office'];
const HUES = 7;

/** The class that gives a part of the catalogue its colour. */
export function hue(aisle: string | undefined): string {
  if (aisle === undefined) {
    return 'hue-none';
  }
  const known = AISLES.indexOf(aisle.toLowerCase());
  return `hue-${known >= 0 ? known : 5 + (hash(aisle) % (HUES - 5))}`;
}

function hash(text: string): number {
  return [...text].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) >>> 0, 7);
}

function shape(text: string, index: number, colours: Record<string, string>): ReactElement {
  const [kind, colour = '', ...rest] = text.split(' ');
  const fill = colours[colour];
  const [a, b, c, d, e] = rest;
  switch (kind) {
    case 'r':
      return <rect key={index} x={a} y={b} width={c} height={d} rx={e} fill={fill} />;
    case 'o':
      return <ellipse key={index} cx={a} cy={b} rx={c} ry={d} fill={fill} />;
    case 'l':
      return (
        <path key={index} d={rest.slice(1).join(' ')} stroke={fill} strokeWidth={a} strokeLinecap="round" strokeLinejoin="round" fill="none" />
      );
    default:
      return <path key={index} d={rest.join(' ')} fill={fill} className={colour === 'y' ? 'drawing-glow' : undefined} />;
  }
}

const longestFirst = Object.keys(THINGS).sort((a, b) => b.length - a.length);

/** The drawing that comes nearest to what a product is. */
function thing(name: string, path: readonly string[]): string {
  const spoken = name.toLowerCase();
  const named = longestFirst.find((known) => spoken.includes(known));
  const shelves = [...path].reverse().map((part) => EMBLEMS[part.toLowerCase()]);
  return named ?? shelves.find((emblem) => emblem !== undefined) ?? 'parcel';
}

export const Drawing = memo(function Drawing({ of, tags = [] }: { of: string; tags?: readonly string[] }) {
  const colours = palette(tags);
  const shapes = (THINGS[of] ?? THINGS['parcel'] ?? '').split(';');
  const hangs = ['pendant light', 'chandelier', 'hanging basket'].includes(of);
  return (
    <svg className="drawing" viewBox="0 0 240 240" aria-hidden="true" focusable="false">
      {!hangs && <ellipse className="drawing-shadow" cx="120" cy="203" rx="92" ry="9" />}
      {shapes.map((text, index) => shape(text, index, colours))}
    </svg>
  );
});

export function emblem(name: string): string {
  return EMBLEMS[name.toLowerCase()] ?? 'parcel';
}

type Pictured = Pick<CardFragment, 'name' | 'tags' | 'media' | 'category'>;

/** A product's photograph, or a drawing of something like it. */
export function Picture({ product, eager = false }: { product: Pictured; eager?: boolean }) {
  const [failed, setFailed] = useState(false);
  const photograph = product.media[0];
  const path = product.category?.path ?? [];
  return (
    <div className={`picture ${hue(path[0])}`}>
      {photograph && !failed ? (
        <img
          src={photograph.url}
          alt={photograph.alt ?? ''}
          loading={eager ? 'eager' : 'lazy'}
          onError={() => setFailed(true)}
        />
      ) : (
        <Drawing of={thing(product.name, path)} tags={product.tags} />
      )}
    </div>
  );
}
