// A product as the texts of a form, and the patch that makes one state into another.
import type { AttributeInput, ProductInput, ProductPatch, ProductStatus, SheetFragment } from '../gql/graphql';

export type Texts = Record<
  | 'name'
  | 'sku'
  | 'slug'
  | 'status'
  | 'category'
  | 'currency'
  | 'price'
  | 'before'
  | 'stock'
  | 'description'
  | 'tags'
  | 'attributes'
  | 'media'
  | 'reference',
  string
>;

export const LABELS: Texts = {
  name: 'Name',
  sku: 'SKU',
  slug: 'Name in the address',
  status: 'Status',
  category: 'Shelf',
  currency: 'Currency',
  price: 'Price',
  before: 'Price before',
  stock: 'Stock',
  description: 'Description',
  tags: 'Tags',
  attributes: 'Properties',
  media: 'Pictures',
  reference: 'Reference elsewhere',
};

/** Where the API's paths are shown in the form. */
export const NAMES: Record<string, string> = {
  categoryId: 'category',
  'price.amount': 'price',
  'price.currency': 'currency',
  compareAtPrice: 'before',
  externalReference: 'reference',
};

export const blank: Texts = {
  name: '',
  sku: '',
  slug: '',
  status: 'DRAFT',
  category: '',
  currency: 'EUR',
  price: '',
  before: '',
  stock: '0',
  description: '',
  tags: '',
  attributes: '',
  media: '',
  reference: '',
};

export function texts(product: SheetFragment): Texts {
  return {
    name: product.name,
    sku: product.sku,
    slug: product.slug,
    status: product.status,
    category: product.category?.id ?? '',
    currency: product.price.currency,
    price: product.price.amount,
    before: product.compareAtPrice?.amount ?? '',
    stock: String(product.stock.available),
    description: product.description ?? '',
    tags: product.tags.join(', '),
    attributes: product.attributes
      .map(({ key, value }) => `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
      .join('\n'),
    media: product.media.map(({ url, alt }) => (alt ? `${url} ${alt}` : url)).join('\n'),
    reference: product.externalReference ?? '',
  };
}

const lines = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');

function attributes(text: string): AttributeInput[] {
  return lines(text).map((line) => {
    const at = line.indexOf(':');
    const [key, value] = at < 0 ? [line, ''] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    try {
      return { key, value: JSON.parse(value) as unknown };
    } catch {
      return { key, value };
    }
  });
}

function media(text: string) {
  return lines(text).map((line) => {
    const [url = '', ...alt] = line.split(/\s+/);
    return { url, alt: alt.length > 0 ? alt.join(' ') : null };
  });
}

const list = (text: string): string[] =>
  text
    .split(',')
    .map((tag) => tag.trim())
    .filter((tag) => tag !== '');

/** What the API is told of the fields that are `wanted`. */
function told(texts: Texts, wanted: (field: keyof Texts) => boolean): ProductPatch {
  const patch: ProductPatch = {};
  if (wanted('name')) patch.name = texts.name;
  if (wanted('sku')) patch.sku = texts.sku;
  if (wanted('slug')) patch.slug = texts.slug || null;
  if (wanted('status')) patch.status = texts.status as ProductStatus;
  if (wanted('category')) patch.categoryId = texts.category || null;
  if (wanted('price') || wanted('currency')) patch.price = { amount: texts.price.trim(), currency: texts.currency };
  if (wanted('before') || (wanted('currency') && texts.before)) {
    patch.compareAtPrice = texts.before.trim() ? { amount: texts.before.trim(), currency: texts.currency } : null;
  }
  if (wanted('stock')) patch.stock = Number(texts.stock);
  if (wanted('description')) patch.description = texts.description || null;
  if (wanted('tags')) patch.tags = list(texts.tags);
  if (wanted('attributes')) patch.attributes = attributes(texts.attributes);
  if (wanted('media')) patch.media = media(texts.media);
  if (wanted('reference')) patch.externalReference = texts.reference || null;
  return patch;
}

export const fields = Object.keys(blank) as (keyof Texts)[];

/** What differs between two states. */
export function changed(from: Texts, to: Texts): (keyof Texts)[] {
  return fields.filter((field) => from[field] !== to[field]);
}

export function patch(from: Texts, to: Texts): ProductPatch {
  const differing = changed(from, to);
  return told(to, (field) => differing.includes(field));
}

export function input(texts: Texts): ProductInput {
  return told(texts, (field) => texts[field] !== '') as ProductInput;
}

/** Whole numbers are the one thing that JSON would take amiss. */
export function mistakes(texts: Texts): Record<string, string> {
  return /^\d{1,9}$/.test(texts.stock.trim()) ? {} : { stock: 'Give a whole number, 0 or more.' };
}
