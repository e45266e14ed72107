import { useQuery } from 'urql';
import { Link } from 'wouter';

import { useLive } from '../api/live';
import { isStaff, useSession } from '../api/session';
import { hue, Picture } from '../art/art';
import { NeighboursDocument, ProductPageDocument, type ProductPageQuery } from '../gql/graphql';
import { ago } from '../ui/format';
import { Page } from '../ui/page';
import { Bone, Empty, Failure } from '../ui/states';
import { Card, CardToCome, Price, Stock } from './card';

export function ProductPage({ slug }: { slug: string }) {
  const [{ data, error }, again] = useQuery({ query: ProductPageDocument, variables: { slug } });
  const product = data?.product;
  useLive(product ? { id: { eq: product.id } } : { slug: { eq: slug } });
  if (error && !product) {
    return (
      <Page title="Product">
        <Failure isPage error={error} retry={() => again({ requestPolicy: 'network-only' })} />
      </Page>
    );
  }
  if (data && !product) {
    return (
      <Page title="Gone">
        <Empty isPage title="This is not in the stockroom any more">
          <Link className="button button-primary" href="/">
            See what is
          </Link>
        </Empty>
      </Page>
    );
  }
  return (
    <Page title={product?.name} className="product">
      {product ? <Details key={product.id} product={product} /> : <ToCome />}
    </Page>
  );
}

const words = (key: string): string => {
  const spaced = key.replace(/([A-Z])/g, ' $1').toLowerCase();
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
};

/** An attribute for people: grams are told as kilograms. */
function attribute(key: string, value: unknown): [string, string] {
  if (key.endsWith('Grams') && typeof value === 'number') {
    return [words(key.slice(0, -5)), `${(value / 1000).toLocaleString('en', { maximumFractionDigits: 1 })} kg`];
  }
  return [words(key), typeof value === 'string' ? value : JSON.stringify(value)];
}

function Details({ product }: { product: NonNullable<ProductPageQuery['product']> }) {
  const { user } = useSession();
  const { category } = product;
  const path = category?.path ?? [];
  return (
    <>
      <nav className="crumbs" aria-label="Where you are">
        <Link href="/">All aisles</Link>
        {category && <Link href={`/?category=${category.slug}`}>{path.join(', ')}</Link>}
      </nav>
      <article className="details">
        <Picture product={product} eager />
        <div className={`tag ${hue(path[0])}`}>
          <h1>{product.name}</h1>
          {product.rating != null && (
            <p className="rating">
              <span className="stars" aria-hidden="true">
                <span className={`stars-full stars-${Math.round(product.rating * 2)}`} />
              </span>
              <span>{product.rating.toFixed(1)} of 5</span>
            </p>
          )}
          <div className="tag-price" aria-live="polite">
            <Price product={product} />
            <Stock stock={product.stock} exact />
          </div>
          <p className="description">{product.description ?? 'No words about this one yet.'}</p>
          <dl className="facts">
            <div>
              <dt>SKU</dt>
              <dd className="code">{product.sku}</dd>
            </div>
            {product.attributes.map(({ key, value }) => {
              const [name, text] = attribute(key, value);
              return (
                <div key={key}>
                  <dt>{name}</dt>
                  <dd>{text}</dd>
                </div>
              );
            })}
          </dl>
          <p className="fresh">
            <span className="fresh-dot" aria-hidden="true" />
            Live from the stockroom. Last changed {ago(product.updatedAt)}.
          </p>
          {isStaff(user) && (
            <Link className="button button-plain" href={`/staff/product/${encodeURIComponent(product.id)}`}>
              Edit this product
            </Link>
          )}
        </div>
      </article>
      {category && <Neighbours category={category} but={product.id} />}
    </>
  );
}

const SHOWN = 4;

function Neighbours({ category, but }: { category: { id: string; name: string; slug: string }; but: string }) {
  const [{ data }] = useQuery({ query: NeighboursDocument, variables: { category: category.id, first: SHOWN + 1 } });
  const others = data?.products?.nodes.filter(({ id }) => id !== but).slice(0, SHOWN);
  if (others?.length === 0) {
    return null;
  }
  return (
    <section className="neighbours" aria-labelledby="neighbours">
      <h2 id="neighbours">From the same shelf</h2>
      <ul className="goods">
        {others?.map((product) => <Card key={product.id} product={product} />) ??
          Array.from({ length: SHOWN }, (_, index) => <CardToCome key={index} />)}
      </ul>
    </section>
  );
}

function ToCome() {
  return (
    <>
      <p className="crumbs">
        <Bone className="bone-short" />
      </p>
      <div className="details" aria-busy="true">
        <div className="picture hue-none" />
        <div className="tag hue-none">
          <h1>
            <Bone className="bone-long" />
          </h1>
          <p>
            <Bone className="bone-short" />
          </p>
          <p>
            <Bone className="bone-long" />
          </p>
        </div>
      </div>
    </>
  );
}
