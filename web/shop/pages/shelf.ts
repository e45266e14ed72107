// What the storefront shows is in its address, so that it can be sent, kept and gone back to.
import type { AislesQuery, ProductFilter, ProductSort } from '../gql/graphql';

export const PAGE = 24;
export const CURRENCIES = ['EUR', 'USD', 'GBP', 'JPY'];
export const COLOURS = ['natural', 'white', 'grey', 'black', 'navy', 'sage', 'mustard', 'terracotta'];

export const SORTS: Record<string, { label: string; sortBy: ProductSort[] | undefined }> = {
  '': { label: 'Newest', sortBy: undefined },
  cheap: { label: 'Price, low to high', sortBy: [{ field: 'PRICE', direction: 'ASC' }] },
  dear: { label: 'Price, high to low', sortBy: [{ field: 'PRICE', direction: 'DESC' }] },
  rating: { label: 'Best rated', sortBy: [{ field: 'RATING', direction: 'DESC' }] },
  name: { label: 'Name, A to Z', sortBy: [{ field: 'NAME', direction: 'ASC' }] },
};

export interface Wishes {
  search: string | undefined;
  category: string | undefined;
  inStock: boolean;
  onSale: boolean;
  colours: string[];
  currency: string | undefined;
  least: string | undefined;
  most: string | undefined;
  sort: string;
  page: number;
}

const AMOUNT = /^\d{1,9}(\.\d{1,3})?$/;

/** Reads an address; what makes no sense in it is as if it were not there. */
export function read(parameters: URLSearchParams): Wishes {
  const text = (name: string) => parameters.get(name)?.trim() || undefined;
  const amount = (name: string) => (AMOUNT.test(parameters.get(name) ?? '') ? text(name) : undefined);
  const currency = CURRENCIES.find((known) => known === text('currency'));
  const page = Number(text('page') ?? 1);
  const sort = text('sort') ?? '';
  return {
    search: text('q'),
    category: text('category'),
    inStock: parameters.has('stock'),
    onSale: parameters.has('sale'),
    colours: COLOURS.filter((colour) => parameters.getAll('colour').includes(colour)),
    currency,
    least: currency && amount('least'),
    most: currency && amount('most'),
    sort: sort in SORTS ? sort : '',
    page: Number.isInteger(page) && page > 0 ? Math.min(page, Math.floor(10_000 / PAGE)) : 1,
  };
}

export function isFiltered({ inStock, onSale, colours, currency }: Wishes): boolean {
  return inStock || onSale || colours.length > 0 || currency !== undefined;
}

/** The same in the API's terms, `category` by its id. */
export function filter(wishes: Wishes, category: string | undefined): ProductFilter | undefined {
  const filter: ProductFilter = {};
  if (category !== undefined) {
    filter.category = { eq: category };
  }
  if (wishes.inStock) {
    filter.inStock = true;
  }
  if (wishes.onSale || wishes.colours.length > 0) {
    filter.tags = {
      ...(wishes.onSale && { allOf: ['sale'] }),
      ...(wishes.colours.length > 0 && { anyOf: wishes.colours }),
    };
  }
  if (wishes.currency !== undefined) {
    filter.price = { currency: wishes.currency, gte: wishes.least, lte: wishes.most };
  }
  return Object.keys(filter).length > 0 ? filter : undefined;
}

type Aisle = NonNullable<AislesQuery['categories']>[number];

/** The aisle that a category is, or is in, and the category. */
export function find(aisles: readonly Aisle[], slug: string | undefined) {
  for (const [index, aisle] of aisles.entries()) {
    const shelf = aisle.children?.find((child) => child.slug === slug);
    if (aisle.slug === slug || shelf) {
      return { number: index + 1, aisle, shelf, id: (shelf ?? aisle).id };
    }
  }
  return undefined;
}
