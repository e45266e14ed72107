import './staff.css';

import { useEffect, useRef, useState } from 'react';
import {
  Button as AriaButton,
  Cell,
  Column,
  Input,
  Menu,
  MenuItem,
  MenuTrigger,
  Popover,
  Row,
  SearchField,
  type SortDescriptor,
  Table,
  TableBody,
  TableHeader,
} from 'react-aria-components';
import { useClient, useQuery } from 'urql';
import { Link, useLocation, useSearchParams } from 'wouter';

import { useLive } from '../api/live';
import { Picture } from '../art/art';
import {
  AdjustStockDocument,
  type ProductSortField,
  type ProductStatus,
  ShelfDocument,
  type ShelfQuery,
} from '../gql/graphql';
import { Price, usePulse } from '../pages/card';
import { Pages } from '../pages/pages';
import { Button } from '../ui/button';
import { Choose, Field } from '../ui/fields';
import { Form } from '../ui/form';
import { ago, count, money } from '../ui/format';
import { Icon } from '../ui/icons';
import { Sheet } from '../ui/overlay';
import { Page } from '../ui/page';
import { refused, sorted } from '../ui/problems';
import { Bone, Empty, Failure } from '../ui/states';
import { say } from '../ui/toasts';
import { remove, useLeaving } from './deletions';

const PAGE = 25;
const SORTABLE = ['NAME', 'PRICE', 'STOCK', 'UPDATED_AT'];
const STATUSES = [
  { id: '', label: 'Any status' },
  { id: 'ACTIVE', label: 'Active' },
  { id: 'DRAFT', label: 'Draft' },
  { id: 'ARCHIVED', label: 'Archived' },
];

type Item = NonNullable<ShelfQuery['products']>['nodes'][number];

export default function Catalogue() {
  const [parameters, setParameters] = useSearchParams();
  const asked = parameters.get('q') ?? '';
  const status = STATUSES.find(({ id }) => id === parameters.get('status'))?.id ?? '';
  const page = Math.max(1, Number(parameters.get('page')) || 1);
  const [field = '', way] = (parameters.get('sort') ?? '').split(' ');
  const sorts = SORTABLE.includes(field);
  const change = (name: string, value: string) =>
    setParameters(
      (before) => {
        const after = new URLSearchParams(before);
        after.delete('page');
        after.delete(name);
        if (value !== '') {
          after.set(name, value);
        }
        return after;
      },
      { replace: true },
    );

  const [{ data, error, fetching }, again] = useQuery({
    query: ShelfDocument,
    variables: {
      search: asked.trim() || undefined,
      filter: status === '' ? undefined : { status: { eq: status as ProductStatus } },
      sortBy: sorts ? [{ field: field as ProductSortField, direction: way === 'DESC' ? 'DESC' : 'ASC' }] : undefined,
      first: PAGE,
      offset: (page - 1) * PAGE,
    },
  });
  useLive(undefined);
  const leaving = useLeaving();
  const kept = useRef(data);
  kept.current = data ?? (error ? undefined : kept.current);
  const products = kept.current?.products;
  const total = products?.totalCount ?? 0;
  const descriptor: SortDescriptor | undefined = sorts
    ? { column: field, direction: way === 'DESC' ? 'descending' : 'ascending' }
    : undefined;

  return (
    <Page title="Catalogue" className="catalogue">
      <div className="catalogue-top">
        <h1>Catalogue</h1>
        <nav className="catalogue-links" aria-label="Staff">
          <Link className="button button-plain" href="/staff/categories">
            Categories
          </Link>
          <Link className="button button-primary" href="/staff/new">
            <Icon name="plus" />
            New product
          </Link>
        </nav>
      </div>
      <div className="catalogue-tools">
        <Find asked={asked} onChange={(text) => change('q', text)} />
        <Choose label="Status" hideLabel choices={STATUSES} value={status} onChange={(value) => change('status', value)} />
        <p className="soft found" role="status">
          {products ? count(total, 'product') : ' '}
        </p>
      </div>
      {error && !products ? (
        <Failure error={error} retry={() => again({ requestPolicy: 'network-only' })} />
      ) : products?.nodes.length === 0 ? (
        <Empty title="Nothing in the catalogue matches" drawing="letter tray">
          <p>Try fewer words, or another status.</p>
        </Empty>
      ) : (
        <Table
          className={`stocklist ${fetching && products ? 'goods-old' : ''}`}
          aria-label="Products"
          sortDescriptor={descriptor}
          onSortChange={({ column, direction }) => change('sort', `${column}${direction === 'descending' ? ' DESC' : ''}`)}
        >
          <TableHeader>
            <Heading id="NAME" isRowHeader>
              Product
            </Heading>
            <Column className="at-desk">Shelf</Column>
            <Heading id="PRICE" className="number">
              Price
            </Heading>
            <Heading id="STOCK" className="number">
              Stock
            </Heading>
            <Column className="at-desk">Status</Column>
            <Heading id="UPDATED_AT" className="at-desk">
              Changed
            </Heading>
            <Column>
              <span className="unseen">Actions</span>
            </Column>
          </TableHeader>
          <TableBody>
            {products
              ? products.nodes.filter(({ id }) => !leaving.has(id)).map((product) => <Line key={product.id} product={product} />)
              : Array.from({ length: 10 }, (_, index) => <LineToCome key={index} />)}
          </TableBody>
        </Table>
      )}
      <nav className="onward" aria-label="Pages">
        <Pages page={page} of={Math.ceil(total / PAGE)} />
      </nav>
    </Page>
  );
}

function Heading({ className = '', ...props }: { id: string; className?: string; isRowHeader?: boolean; children: string }) {
  return (
    <Column {...props} allowsSorting className={className}>
      {({ sortDirection }) => (
        <span className="sorter">
          {props.children}
          <span className={`sorter-mark ${sortDirection ?? ''}`} aria-hidden="true" />
        </span>
      )}
    </Column>
  );
}

function Find({ asked, onChange }: { asked: string; onChange: (text: string) => void }) {
  const [text, setText] = useState(asked);
  const tell = useRef(onChange);
  tell.current = onChange;
  useEffect(() => {
    if (text === asked) {
      return undefined;
    }
    const pause = setTimeout(() => tell.current(text), 200);
    return () => clearTimeout(pause);
  }, [text, asked]);
  return (
    <SearchField className="search" aria-label="Search the catalogue" value={text} onChange={setText}>
      <Icon name="search" />
      <Input placeholder="Name or SKU" />
      <AriaButton className="search-clear" aria-label="Clear the search">
        <Icon name="close" />
      </AriaButton>
    </SearchField>
  );
}

function Line({ product }: { product: Item }) {
  const client = useClient();
  const [, navigate] = useLocation();
  const [adjusts, setAdjusts] = useState(false);
  const sheet = `/staff/product/${encodeURIComponent(product.id)}`;
  return (
    <Row id={product.id} textValue={product.name}>
      <Cell>
        <div className="stocklist-product">
          <Picture product={product} />
          <div>
            <Link href={sheet}>{product.name}</Link>
            <span className="code">{product.sku}</span>
          </div>
        </div>
      </Cell>
      <Cell className="at-desk">{product.category?.name ?? '–'}</Cell>
      <Cell className="number">
        <Price product={{ price: product.price, compareAtPrice: null }} />
        {product.compareAtPrice && <s className="at-desk">{money(product.compareAtPrice)}</s>}
      </Cell>
      <Cell className="number">
        <Counter product={product} />
      </Cell>
      <Cell className="at-desk">
        <span className={`badge badge-${product.status.toLowerCase()}`}>{product.status.toLowerCase()}</span>
      </Cell>
      <Cell className="at-desk soft">{ago(product.updatedAt)}</Cell>
      <Cell className="actions">
        <MenuTrigger>
          <Button look="icon" aria-label={`Actions for ${product.name}`}>
            <Icon name="more" />
          </Button>
          <Popover className="popover" placement="bottom end">
            <Menu className="menu" aria-label={`Actions for ${product.name}`}>
              <MenuItem onAction={() => navigate(sheet)}>Edit</MenuItem>
              <MenuItem onAction={() => setAdjusts(true)}>Adjust the stock</MenuItem>
              <MenuItem onAction={() => navigate(`/product/${encodeURIComponent(product.slug)}`)}>See it in the shop</MenuItem>
              <MenuItem className="menu-bad" onAction={() => remove(client, product)}>
                Delete
              </MenuItem>
            </Menu>
          </Popover>
        </MenuTrigger>
        <Adjust product={product} isOpen={adjusts} onClose={() => setAdjusts(false)} />
      </Cell>
    </Row>
  );
}

/** Adds to the stock, or takes from it, whatever others do meanwhile. */
function useAdjustment(product: Item): (delta: number) => Promise<string | undefined> {
  const client = useClient();
  return async (delta) => {
    const { data, error } = await client.mutation(AdjustStockDocument, { id: product.id, delta }).toPromise();
    const { rest } = error ? refused(error) : sorted(data?.adjustStock?.errors ?? [], []);
    return rest[0];
  };
}

function Counter({ product }: { product: Item }) {
  const adjust = useAdjustment(product);
  const { available } = product.stock;
  const pulses = usePulse(available);
  const by = (delta: number) => void adjust(delta).then((problem) => problem && say(problem, { tone: 'bad' }));
  return (
    <span className="counter">
      <Button look="icon" aria-label={`One ${product.name} less`} isDisabled={available === 0} onPress={() => by(-1)}>
        <Icon name="minus" />
      </Button>
      <span className={`counter-number ${pulses ? 'pulse' : ''} ${available === 0 ? 'counter-none' : ''}`}>{available}</span>
      <Button look="icon" aria-label={`One ${product.name} more`} onPress={() => by(1)}>
        <Icon name="plus" />
      </Button>
    </span>
  );
}

function Adjust({ product, isOpen, onClose }: { product: Item; isOpen: boolean; onClose: () => void }) {
  const adjust = useAdjustment(product);
  const [text, setText] = useState('');
  const [problem, setProblem] = useState<string>();
  const delta = /^[+-]?\d{1,9}$/.test(text.trim()) ? Number(text) : undefined;
  const close = () => {
    setText('');
    setProblem(undefined);
    onClose();
  };
  const send = async () => {
    const wrong = delta === undefined ? 'Give a whole number, as in 12 or -3.' : await adjust(delta);
    if (wrong === undefined) {
      close();
    } else {
      setProblem(wrong);
    }
  };
  return (
    <Sheet title="Adjust the stock" isOpen={isOpen} onClose={close}>
      <Form
        problems={problem === undefined ? {} : { delta: problem }}
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <p>
          {product.name}: <strong>{product.stock.available}</strong>
          {delta !== undefined && delta !== 0 && ` → ${product.stock.available + delta}`}
        </p>
        <Field
          label="Pieces to add; with a minus, to take"
          name="delta"
          value={text}
          onChange={setText}
          inputMode="numeric"
          autoFocus
        />
        <Button look="primary" type="submit">
          Adjust
        </Button>
      </Form>
    </Sheet>
  );
}

function LineToCome() {
  return (
    <Row>
      <Cell>
        <div className="stocklist-product">
          <div className="picture hue-none" />
          <div>
            <Bone className="bone-long" />
          </div>
        </div>
      </Cell>
      <Cell className="at-desk">
        <Bone className="bone-short" />
      </Cell>
      <Cell>
        <Bone className="bone-short" />
      </Cell>
      <Cell>
        <Bone className="bone-short" />
      </Cell>
      <Cell className="at-desk">
        <Bone className="bone-short" />
      </Cell>
      <Cell className="at-desk">
        <Bone className="bone-short" />
      </Cell>
      <Cell>
        <span />
      </Cell>
    </Row>
  );
}
