import { type ReactNode, useRef, useState } from 'react';
import { DialogTrigger, Input, Label, Popover, TextField, ToggleButton, ToggleButtonGroup } from 'react-aria-components';
import { useQuery } from 'urql';
import { Link, useSearchParams } from 'wouter';

import { useLive } from '../api/live';
import { Drawing, emblem, hue } from '../art/art';
import { AislesDocument, StorefrontDocument, type StorefrontQueryVariables } from '../gql/graphql';
import { Button } from '../ui/button';
import { Choose, Tick } from '../ui/fields';
import { count } from '../ui/format';
import { Icon } from '../ui/icons';
import { Sheet } from '../ui/overlay';
import { Page } from '../ui/page';
import { Bone, Empty, Failure } from '../ui/states';
import { Card, CardToCome } from './card';
import { Pages } from './pages';
import { COLOURS, CURRENCIES, filter, find, isFiltered, PAGE, read, SORTS, type Wishes } from './shelf';

type Change = (changes: Record<string, string | string[] | null>) => void;

export function Storefront() {
  const [parameters, setParameters] = useSearchParams();
  const wishes = read(parameters);
  const [{ data: shop, error: lost }, again] = useQuery({ query: AislesDocument });
  const aisles = [...(shop?.categories ?? [])].sort((a, b) => a.position - b.position);
  const place = find(aisles, wishes.category);
  const wanted = filter(wishes, place?.id);
  // A category is known by its id once the aisles are.
  const waits = wishes.category !== undefined && shop === undefined;
  useLive(wanted);

  const change: Change = (changes) =>
    setParameters((before) => {
      const after = new URLSearchParams(before);
      after.delete('page');
      for (const [name, value] of Object.entries(changes)) {
        after.delete(name);
        for (const one of value === null ? [] : [value].flat()) {
          after.append(name, one);
        }
      }
      return after;
    });

  const isHome = place === undefined && wishes.search === undefined && !isFiltered(wishes);
  const title = place ? (place.shelf ?? place.aisle).name : wishes.search ? `“${wishes.search}”` : '';
  return (
    <Page title={title} className="storefront">
      {place ? (
        <AisleSign place={place} search={wishes.search} />
      ) : (
        <Welcome search={wishes.search} small={!isHome}>
          <ul className="aisles">
            {shop === undefined && lost === undefined
              ? Array.from({ length: 5 }, (_, index) => (
                  <li key={index} className="aisle hue-none" aria-hidden="true">
                    <Bone className="bone-short" />
                  </li>
                ))
              : aisles.map((aisle, index) => (
                  <li key={aisle.id} className={`aisle ${hue(aisle.name)}`}>
                    <span className="aisle-number" aria-hidden="true">
                      {index + 1}
                    </span>
                    <Link href={`/?category=${aisle.slug}`}>{aisle.name}</Link>
                    <Drawing of={emblem(aisle.name)} />
                  </li>
                ))}
          </ul>
        </Welcome>
      )}
      <Filters wishes={wishes} change={change} />
      {lost && shop === undefined ? (
        <Failure error={lost} retry={() => again({ requestPolicy: 'network-only' })} />
      ) : wishes.category !== undefined && shop !== undefined && place === undefined ? (
        <Empty title="There is no such aisle">
          <Link href="/">All products</Link>
        </Empty>
      ) : (
        <Goods
          key={JSON.stringify([wanted, wishes.sort])}
          pause={waits}
          page={wishes.page}
          clear={isFiltered(wishes) ? () => change({ stock: null, sale: null, colour: null, currency: null, least: null, most: null }) : undefined}
          variables={{ search: wishes.search, filter: wanted, sortBy: SORTS[wishes.sort]?.sortBy }}
        />
      )}
    </Page>
  );
}

function Welcome({ search, small, children }: { search: string | undefined; small: boolean; children: ReactNode }) {
  return (
    <div className={`welcome ${small ? 'welcome-small' : ''}`}>
      {search === undefined ? (
        <h1>
          Everything we have <em>is on these shelves.</em>
        </h1>
      ) : (
        <h1 className="searched">“{search}”</h1>
      )}
      <nav aria-label="Aisles">{children}</nav>
    </div>
  );
}

function AisleSign({ place, search }: { place: NonNullable<ReturnType<typeof find>>; search: string | undefined }) {
  const { aisle, shelf, number } = place;
  const shelves = [...(aisle.children ?? [])].sort((a, b) => a.position - b.position);
  const to = (slug: string) => `/?category=${slug}${search ? `&q=${encodeURIComponent(search)}` : ''}`;
  return (
    <div className={`sign ${hue(aisle.name)}`}>
      <span className="sign-number" aria-hidden="true">
        {number}
      </span>
      <div className="sign-words">
        <nav aria-label="Where you are" className="crumbs">
          <Link href="/">All aisles</Link>
          {shelf && <Link href={to(aisle.slug)}>{aisle.name}</Link>}
        </nav>
        <h1>{(shelf ?? aisle).name}</h1>
        <nav aria-label={`Shelves of ${aisle.name}`} className="chips">
          {shelves.map((one) => (
            <Link key={one.id} className="chip" href={to(one.slug)} aria-current={one.id === shelf?.id ? 'page' : undefined}>
              {one.name}
            </Link>
          ))}
        </nav>
      </div>
      <Drawing of={emblem((shelf ?? aisle).name)} />
    </div>
  );
}

function Filters({ wishes, change }: { wishes: Wishes; change: Change }) {
  const [isOpen, setOpen] = useState(false);
  const number = [wishes.inStock, wishes.onSale, wishes.colours.length > 0, wishes.currency].filter(Boolean).length;
  const ticks = (
    <>
      <Tick isSelected={wishes.inStock} onChange={(on) => change({ stock: on ? '1' : null })}>
        In stock
      </Tick>
      <Tick isSelected={wishes.onSale} onChange={(on) => change({ sale: on ? '1' : null })}>
        Reduced
      </Tick>
    </>
  );
  return (
    <section className="filters" aria-label="Filters">
      <div className="filters-wide">
        {ticks}
        <DialogTrigger>
          <Button className={wishes.colours.length > 0 ? 'button-on' : ''}>
            {wishes.colours.length > 0 ? wishes.colours.join(', ') : 'Colour'}
            <Icon name="down" />
          </Button>
          <Popover className="popover popover-roomy" placement="bottom start" aria-label="Colour">
            <Swatches wishes={wishes} change={change} />
          </Popover>
        </DialogTrigger>
        <DialogTrigger>
          <Button className={wishes.currency ? 'button-on' : ''}>
            {priceWords(wishes)}
            <Icon name="down" />
          </Button>
          <Popover className="popover popover-roomy" placement="bottom start" aria-label="Price">
            <PriceRange wishes={wishes} change={change} />
          </Popover>
        </DialogTrigger>
      </div>
      <Button className="filters-narrow" onPress={() => setOpen(true)}>
        <Icon name="filter" />
        Filter{number > 0 ? ` (${number})` : ''}
      </Button>
      <Choose
        className="sorting"
        label="Sort by"
        hideLabel
        value={wishes.sort}
        onChange={(sort) => change({ sort: sort || null })}
        choices={Object.entries(SORTS).map(([id, { label }]) => ({
          id,
          label: id === '' && wishes.search ? 'Best match' : label,
        }))}
      />
      <Sheet title="Filter" isOpen={isOpen} onClose={() => setOpen(false)} side>
        <div className="filters-sheet">
          {ticks}
          <h3>Colour</h3>
          <Swatches wishes={wishes} change={change} />
          <h3>Price</h3>
          <PriceRange wishes={wishes} change={change} />
          <Button look="primary" onPress={() => setOpen(false)}>
            Show products
          </Button>
        </div>
      </Sheet>
    </section>
  );
}

function Swatches({ wishes, change }: { wishes: Wishes; change: Change }) {
  return (
    <ToggleButtonGroup
      className="swatches"
      aria-label="Colours"
      selectionMode="multiple"
      selectedKeys={wishes.colours}
      onSelectionChange={(keys) => change({ colour: [...keys].map(String) })}
    >
      {COLOURS.map((colour) => (
        <ToggleButton key={colour} id={colour} className="swatch">
          <span className={`swatch-dot dye-${colour}`} />
          {colour}
        </ToggleButton>
      ))}
    </ToggleButtonGroup>
  );
}

function priceWords({ currency, least, most }: Wishes): string {
  if (currency === undefined) {
    return 'Price';
  }
  const range = least && most ? `${least}–${most}` : least ? `from ${least}` : most ? `up to ${most}` : 'any';
  return `${currency} ${range}`;
}

/** Amounts mean something in one currency alone. */
function PriceRange({ wishes, change }: { wishes: Wishes; change: Change }) {
  const bound = (name: 'least' | 'most', label: string) => (
    <TextField className="field" defaultValue={wishes[name] ?? ''} inputMode="decimal">
      <Label>{label}</Label>
      <Input
        className="input"
        onChange={({ target }) => change({ currency: wishes.currency ?? CURRENCIES[0] ?? null, [name]: target.value || null })}
      />
    </TextField>
  );
  return (
    <div className="range">
      <ToggleButtonGroup
        className="segments"
        aria-label="Currency"
        selectedKeys={wishes.currency ? [wishes.currency] : []}
        onSelectionChange={(keys) => {
          const [currency] = [...keys].map(String);
          change(currency ? { currency } : { currency: null, least: null, most: null });
        }}
      >
        {CURRENCIES.map((currency) => (
          <ToggleButton key={currency} id={currency} className="segment">
            {currency}
          </ToggleButton>
        ))}
      </ToggleButtonGroup>
      <div className="range-bounds">
        {bound('least', 'From')}
        {bound('most', 'To')}
      </div>
    </div>
  );
}

interface GoodsProps {
  variables: Pick<StorefrontQueryVariables, 'search' | 'filter' | 'sortBy'>;
  page: number;
  pause: boolean;
  clear: (() => void) | undefined;
}

/** A page of products, and those that were asked for below it. */
function Goods({ variables, page, pause, clear }: GoodsProps) {
  const [more, setMore] = useState({ page, search: variables.search, pages: 0 });
  const pages = more.page === page && more.search === variables.search ? more.pages : 0;
  const [{ data, error, fetching }, again] = useQuery({
    query: StorefrontDocument,
    variables: { ...variables, first: PAGE, offset: (page - 1) * PAGE, counted: true },
    pause,
  });
  // What was found before stays until there is something else to show.
  const kept = useRef(data);
  kept.current = data ?? (error ? undefined : kept.current);
  const products = kept.current?.products;

  if (error && !products) {
    return <Failure error={error} retry={() => again({ requestPolicy: 'network-only' })} />;
  }
  if (!products) {
    return (
      <>
        <p className="found">
          <Bone className="bone-short" />
        </p>
        <ul className="goods" aria-busy="true" aria-label="Products">
          {Array.from({ length: PAGE }, (_, index) => (
            <CardToCome key={index} />
          ))}
        </ul>
      </>
    );
  }
  const total = products.totalCount ?? 0;
  if (products.nodes.length === 0) {
    return (
      <Empty title="Nothing on the shelves matches" drawing="bookcase">
        <p>{variables.search ? 'Try fewer words, or part of a SKU.' : 'Try fewer filters.'}</p>
        {clear && (
          <Button look="primary" onPress={clear}>
            Clear the filters
          </Button>
        )}
      </Empty>
    );
  }
  return (
    <>
      <h2 className="unseen">Products</h2>
      <p className="found" role="status">
        {count(total, 'product')}
      </p>
      <ul className={`goods ${fetching ? 'goods-old' : ''}`} aria-label="Products" aria-busy={fetching}>
        {products.nodes.map((product, index) => (
          <Card key={product.id} product={product} eager={index < 4} />
        ))}
        {pages > 0 && <MoreGoods variables={variables} after={products.pageInfo.endCursor} pages={pages} />}
      </ul>
      <nav className="onward" aria-label="Pages">
        {total > (page + pages) * PAGE && (
          <Button onPress={() => setMore({ page, search: variables.search, pages: pages + 1 })}>Show {PAGE} more</Button>
        )}
        <Pages page={page} through={page + pages} of={Math.ceil(total / PAGE)} />
      </nav>
    </>
  );
}

interface MoreGoodsProps {
  variables: GoodsProps['variables'];
  after: string | null | undefined;
  pages: number;
}

/** What follows a cursor, page after page. */
function MoreGoods({ variables, after, pages }: MoreGoodsProps): ReactNode {
  const [{ data, error }, again] = useQuery({
    query: StorefrontDocument,
    variables: { ...variables, first: PAGE, after, counted: false },
    pause: after == null,
  });
  if (after == null) {
    return null;
  }
  if (error && !data) {
    return (
      <li className="goods-failed">
        <Failure error={error} retry={() => again({ requestPolicy: 'network-only' })} />
      </li>
    );
  }
  if (!data?.products) {
    return Array.from({ length: PAGE }, (_, index) => <CardToCome key={index} />);
  }
  const { nodes, pageInfo } = data.products;
  return (
    <>
      {nodes.map((product) => (
        <Card key={product.id} product={product} />
      ))}
      {pages > 1 && <MoreGoods variables={variables} after={pageInfo.endCursor} pages={pages - 1} />}
    </>
  );
}
