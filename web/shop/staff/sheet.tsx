import './staff.css';

import { type FormEvent, useRef, useState } from 'react';
import { Radio, RadioGroup } from 'react-aria-components';
import { useClient, useQuery } from 'urql';
import { Link, useLocation } from 'wouter';

import { useLive } from '../api/live';
import { Picture } from '../art/art';
import {
  AislesDocument,
  CreateProductDocument,
  ProductSheetDocument,
  type SheetFragment,
  UpdateProductDocument,
} from '../gql/graphql';
import { CURRENCIES } from '../pages/shelf';
import { Button } from '../ui/button';
import { Choose, Field } from '../ui/fields';
import { Form } from '../ui/form';
import { Sheet as Overlay } from '../ui/overlay';
import { Complaints, Page } from '../ui/page';
import { none, type Problems, refused, sorted } from '../ui/problems';
import { Bone, Empty, Failure } from '../ui/states';
import { say } from '../ui/toasts';
import { blank, changed, fields, input, LABELS, mistakes, NAMES, patch, type Texts, texts } from './product';

export default function Sheet({ id }: { id?: string }) {
  return id === undefined ? <Editor /> : <Existing id={id} />;
}

function Existing({ id }: { id: string }) {
  const [{ data, error }, again] = useQuery({ query: ProductSheetDocument, variables: { id } });
  if (error && !data?.product) {
    return (
      <Page title="Product">
        <Failure isPage error={error} retry={() => again({ requestPolicy: 'network-only' })} />
      </Page>
    );
  }
  if (data && !data.product) {
    return (
      <Page title="Gone">
        <Empty isPage title="Someone took this product out of the catalogue">
          <Link href="/staff">To the catalogue</Link>
        </Empty>
      </Page>
    );
  }
  return data?.product ? (
    <Editor product={data.product} />
  ) : (
    <Page className="editor">
      <h1>
        <Bone className="bone-long" />
      </h1>
    </Page>
  );
}

const STATUSES = [
  { id: 'DRAFT', label: 'Draft: the staff sees it' },
  { id: 'ACTIVE', label: 'Active: on sale' },
  { id: 'ARCHIVED', label: 'Archived: off sale' },
];

/** `product` is the newest that is known; the form stands on the one that it was opened with. */
function Editor({ product }: { product?: SheetFragment }) {
  const client = useClient();
  const [, navigate] = useLocation();
  const [base, setBase] = useState(product);
  const [values, setValues] = useState<Texts>(product ? texts(product) : blank);
  const [problems, setProblems] = useState<Problems>(none);
  const [isSending, setSending] = useState(false);
  const [conflict, setConflict] = useState<SheetFragment>();
  const saving = useRef(false);
  useLive(product ? { id: { eq: product.id } } : { id: { in: [] } });
  const [{ data: shop }] = useQuery({ query: AislesDocument });
  const aisles = [...(shop?.categories ?? [])].sort((a, b) => a.position - b.position);

  const set = (field: keyof Texts) => (value: string) => setValues((before) => ({ ...before, [field]: value }));
  const edited = base ? changed(texts(base), values) : fields;
  const overtaken = base !== undefined && product !== undefined && product.version > base.version && !saving.current;

  const stand = (on: SheetFragment, as: Texts = texts(on)) => {
    setBase(on);
    setValues(as);
    setConflict(undefined);
  };

  const save = async (on: SheetFragment | undefined, wanted: Texts) => {
    const wrong = mistakes(wanted);
    if (Object.keys(wrong).length > 0) {
      setProblems({ fields: wrong, rest: [] });
      return;
    }
    setSending(true);
    saving.current = true;
    setProblems(none);
    const { saved, errors, current, error } = on ? await update(on, wanted) : await create(wanted);
    setSending(false);
    saving.current = false;
    if (saved) {
      say(on ? 'Saved.' : `${saved.name} is in the catalogue.`);
      stand(saved);
      if (!on) {
        navigate(`/staff/product/${encodeURIComponent(saved.id)}`, { replace: true });
      }
    } else if (current) {
      setConflict(current);
    } else {
      setProblems(error ? refused(error) : sorted(errors, fields, NAMES));
    }
  };

  const create = async (wanted: Texts) => {
    const { data, error } = await client.mutation(CreateProductDocument, { input: input(wanted) }).toPromise();
    const payload = data?.createProduct;
    return { saved: payload?.product, errors: payload?.errors ?? [], current: undefined, error };
  };

  const update = async (on: SheetFragment, wanted: Texts) => {
    const variables = { id: on.id, patch: patch(texts(on), wanted), ifVersion: on.version };
    const { data, error } = await client.mutation(UpdateProductDocument, variables).toPromise();
    const payload = data?.updateProduct;
    const errors = payload?.errors ?? [];
    const current = errors.map((one) => ('current' in one ? one.current : undefined)).find((one) => one !== undefined);
    return { saved: payload?.product, errors, current, error };
  };

  /** What is there now, in whole: events bring less. */
  const look = async () => {
    const { data } = await client
      .query(ProductSheetDocument, { id: base?.id ?? '' }, { requestPolicy: 'network-only' })
      .toPromise();
    if (data?.product && base) {
      const theirs = texts(data.product);
      if (edited.length === 0) {
        stand(data.product, theirs);
      } else {
        setConflict(data.product);
      }
    }
  };

  const submit = (event: FormEvent) => {
    event.preventDefault();
    void save(base, values);
  };

  const title = base ? base.name : 'A new product';
  const shown = { name: values.name || 'Parcel', tags: values.tags.split(', '), media: base?.media ?? [], category: base?.category };
  return (
    <Page title={title} className="editor">
      <nav className="crumbs" aria-label="Where you are">
        <Link href="/staff">Catalogue</Link>
        {base && <Link href={`/product/${encodeURIComponent(base.slug)}`}>In the shop</Link>}
      </nav>
      <div className="editor-top">
        <Picture product={shown} eager />
        <div>
          <h1>{title}</h1>
          {base && <p className="soft">Version {base.version}</p>}
        </div>
      </div>
      <div role="status">
        {overtaken && (
          <p className="overtaken">
            Someone else has just changed this product.
            <Button onPress={() => void look()}>{edited.length === 0 ? 'Show it as it is now' : 'Compare'}</Button>
          </p>
        )}
      </div>
      <Form className="editor-form" problems={problems.fields} onSubmit={submit}>
        <Complaints of={problems.rest} />
        <fieldset>
          <legend>What it is</legend>
          <Field label={LABELS.name} name="name" value={values.name} onChange={set('name')} isRequired className="wide" />
          <Field label={LABELS.sku} name="sku" value={values.sku} onChange={set('sku')} isRequired />
          <Field
            label={LABELS.slug}
            name="slug"
            value={values.slug}
            onChange={set('slug')}
            placeholder="made from the name"
          />
          <Choose label={LABELS.status} name="status" choices={STATUSES} value={values.status} onChange={set('status')} />
          <Choose
            label={LABELS.category}
            name="category"
            value={values.category}
            onChange={set('category')}
            choices={[
              { id: '', label: 'On none' },
              ...aisles.flatMap((aisle) => [
                { id: aisle.id, label: aisle.name },
                ...(aisle.children ?? []).map(({ id, name }) => ({ id, label: name, indent: true })),
              ]),
            ]}
          />
          <Field label={LABELS.description} name="description" value={values.description} onChange={set('description')} lines={4} className="wide" />
        </fieldset>
        <fieldset>
          <legend>What it costs, and how many there are</legend>
          <Field label={LABELS.price} name="price" value={values.price} onChange={set('price')} isRequired inputMode="decimal" />
          <Choose
            label={LABELS.currency}
            name="currency"
            choices={[...new Set([...CURRENCIES, values.currency])].map((id) => ({ id, label: id }))}
            value={values.currency}
            onChange={set('currency')}
          />
          <Field label={LABELS.before} name="before" value={values.before} onChange={set('before')} inputMode="decimal" help="Shown struck through." />
          <Field
            label={LABELS.stock}
            name="stock"
            value={values.stock}
            onChange={set('stock')}
            inputMode="numeric"
            help="In the catalogue you can add and take without overwriting others."
          />
        </fieldset>
        <fieldset>
          <legend>How it is found</legend>
          <Field label={LABELS.tags} name="tags" value={values.tags} onChange={set('tags')} help="Divided by commas." className="wide" />
          <Field
            label={LABELS.attributes}
            name="attributes"
            value={values.attributes}
            onChange={set('attributes')}
            lines={4}
            help="One a line, as in colour: sage."
          />
          <Field
            label={LABELS.media}
            name="media"
            value={values.media}
            onChange={set('media')}
            lines={4}
            help="One a line: an address, then what the picture shows."
          />
          <Field label={LABELS.reference} name="reference" value={values.reference} onChange={set('reference')} />
        </fieldset>
        <div className="editor-bar">
          <span className="soft">
            {base && (edited.length === 0 ? 'Nothing changed' : `Changed: ${edited.map((field) => LABELS[field]).join(', ')}`)}
          </span>
          <Button look="primary" type="submit" isPending={isSending} isDisabled={base !== undefined && edited.length === 0}>
            {base ? 'Save' : 'Create the product'}
          </Button>
        </div>
      </Form>
      {conflict && base && (
        <Conflict
          base={base}
          mine={values}
          current={conflict}
          isSending={isSending}
          onClose={() => setConflict(undefined)}
          onKeepTheirs={() => stand(conflict)}
          onSave={(merged) => void save(conflict, merged)}
        />
      )}
    </Page>
  );
}

interface ConflictProps {
  base: SheetFragment;
  mine: Texts;
  current: SheetFragment;
  isSending: boolean;
  onClose: () => void;
  onKeepTheirs: () => void;
  onSave: (merged: Texts) => void;
}

/** Two people changed a product: what only one of them changed goes together, the rest is asked for. */
function Conflict({ base, mine, current, isSending, onClose, onKeepTheirs, onSave }: ConflictProps) {
  const [before, theirs] = [texts(base), texts(current)];
  const [byMe, byThem] = [changed(before, mine), changed(before, theirs)];
  const both = byMe.filter((field) => byThem.includes(field) && mine[field] !== theirs[field]);
  const [taken, setTaken] = useState<Partial<Record<keyof Texts, 'mine' | 'theirs'>>>({});
  const merged = Object.fromEntries(
    fields.map((field) => {
      const isMine = both.includes(field) ? taken[field] === 'mine' : byMe.includes(field);
      return [field, isMine ? mine[field] : theirs[field]];
    }),
  ) as Texts;
  const open = both.filter((field) => taken[field] === undefined);
  const said = (text: string) => (text === '' ? 'nothing' : text);
  return (
    <Overlay title="Someone else saved this first" isOpen onClose={onClose} wide>
      <div className="conflict">
        {byThem
          .filter((field) => !both.includes(field))
          .map((field) => (
            <p key={field} className="conflict-theirs">
              {LABELS[field]} is now <strong>{said(theirs[field])}</strong>
              {mine[field] === theirs[field] && ', as you wanted'}.
            </p>
          ))}
        {both.length > 0 && <p>You both changed {both.length === 1 ? 'this' : 'these'}. Which shall it be?</p>}
        {both.map((field) => (
          <RadioGroup
            key={field}
            className="conflict-choice"
            aria-label={LABELS[field]}
            value={taken[field] ?? null}
            onChange={(value) => setTaken((known) => ({ ...known, [field]: value as 'mine' | 'theirs' }))}
          >
            <span className="conflict-field">{LABELS[field]}</span>
            <Radio value="theirs" className="conflict-side">
              <small>Theirs</small>
              {said(theirs[field])}
            </Radio>
            <Radio value="mine" className="conflict-side">
              <small>Yours</small>
              {said(mine[field])}
            </Radio>
          </RadioGroup>
        ))}
        <div className="dialog-bar">
          <Button onPress={onKeepTheirs}>Drop my changes</Button>
          <Button look="primary" isDisabled={open.length > 0} isPending={isSending} onPress={() => onSave(merged)}>
            Save both
          </Button>
        </div>
      </div>
    </Overlay>
  );
}
