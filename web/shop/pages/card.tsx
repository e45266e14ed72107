import { useEffect, useRef, useState } from 'react';
import { Link } from 'wouter';

import { Picture } from '../art/art';
import type { CardFragment } from '../gql/graphql';
import { money, reduction } from '../ui/format';
import { Bone } from '../ui/states';

/** Whether a value has changed a moment ago, while the page was looked at. */
export function usePulse(value: unknown): boolean {
  const known = useRef(value);
  const [pulses, setPulses] = useState(false);
  useEffect(() => {
    if (known.current === value) {
      return undefined;
    }
    known.current = value;
    setPulses(true);
    const over = setTimeout(() => setPulses(false), 2000);
    return () => clearTimeout(over);
  }, [value]);
  return pulses;
}

export function Price({ product }: { product: Pick<CardFragment, 'price' | 'compareAtPrice'> }) {
  const { price, compareAtPrice: before } = product;
  const pulses = usePulse(price.amount + price.currency);
  const off = reduction(price, before);
  return (
    <span className={`price ${pulses ? 'pulse' : ''}`}>
      <strong>{money(price)}</strong>
      {before && off !== null && (
        <>
          {' '}
          <s>
            <span className="unseen">was </span>
            {money(before)}
          </s>
        </>
      )}
    </span>
  );
}

const STATES = { IN_STOCK: 'In stock', LOW_STOCK: 'Only', OUT_OF_STOCK: 'Sold out' } as const;

export function Stock({ stock, exact = false }: { stock: CardFragment['stock']; exact?: boolean }) {
  const pulses = usePulse(stock.available);
  const words =
    stock.state === 'LOW_STOCK'
      ? `Only ${stock.available} left`
      : stock.state === 'IN_STOCK' && exact
        ? `${stock.available} in stock`
        : STATES[stock.state];
  return <span className={`stock stock-${stock.state.toLowerCase()} ${pulses ? 'pulse' : ''}`}>{words}</span>;
}

export function Card({ product, eager = false }: { product: CardFragment; eager?: boolean }) {
  const off = reduction(product.price, product.compareAtPrice);
  return (
    <li className={`card ${product.stock.state === 'OUT_OF_STOCK' ? 'card-gone' : ''}`}>
      <Picture product={product} eager={eager} />
      {off !== null && <span className="off">−{off}%</span>}
      {product.status !== 'ACTIVE' && <span className="off off-status">{product.status.toLowerCase()}</span>}
      <h3>
        <Link href={`/product/${encodeURIComponent(product.slug)}`}>{product.name}</Link>
      </h3>
      <Price product={product} />
      <Stock stock={product.stock} />
    </li>
  );
}

/** As high as a card, so that nothing moves when one comes. */
export function CardToCome() {
  return (
    <li className="card" aria-hidden="true">
      <div className="picture hue-none" />
      <h3>
        <Bone className="bone-long" />
      </h3>
      <span className="price">
        <Bone className="bone-short" />
      </span>
      <span className="stock">
        <Bone className="bone-short" />
      </span>
    </li>
  );
}
