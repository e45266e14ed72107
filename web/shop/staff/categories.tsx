import './staff.css';

import { type FormEvent, useState } from 'react';
import { useClient, useQuery } from 'urql';
import { Link } from 'wouter';

import { Drawing, emblem, hue } from '../art/art';
import {
  AislesDocument,
  type AislesQuery,
  CreateCategoryDocument,
  DeleteCategoryDocument,
  UpdateCategoryDocument,
} from '../gql/graphql';
import { Button } from '../ui/button';
import { Choose, Field } from '../ui/fields';
import { Form } from '../ui/form';
import { Sheet } from '../ui/overlay';
import { Complaints, Page } from '../ui/page';
import { none, type Problems, refused, sorted } from '../ui/problems';
import { Bone, Failure } from '../ui/states';
import { say } from '../ui/toasts';

type Aisle = NonNullable<AislesQuery['categories']>[number];
type Shelf = NonNullable<Aisle['children']>[number];

/** A category to edit, or a new one below a parent. */
interface Draft {
  category?: Shelf;
  parent: string;
}

const byPosition = <T extends { position: number }>(list: readonly T[] | null | undefined): T[] =>
  [...(list ?? [])].sort((a, b) => a.position - b.position);

export default function Categories() {
  const client = useClient();
  const [{ data, error }, again] = useQuery({ query: AislesDocument, requestPolicy: 'cache-and-network' });
  const [draft, setDraft] = useState<Draft>();
  const aisles = byPosition(data?.categories);
  const remove = async ({ id, name }: Shelf) => {
    const result = await client.mutation(DeleteCategoryDocument, { id }).toPromise();
    const { rest } = result.error ? refused(result.error) : sorted(result.data?.deleteCategory?.errors ?? [], []);
    say(rest[0] ?? `${name} is gone.`, rest[0] ? { tone: 'bad' } : {});
  };
  const line = (category: Shelf, parent: string) => (
    <div className="tree-line">
      <span className="tree-name">{category.name}</span>
      <span className="code">{category.slug}</span>
      <Button onPress={() => setDraft({ category, parent })} aria-label={`Edit ${category.name}`}>
        Edit
      </Button>
      <Button onPress={() => void remove(category)} aria-label={`Delete ${category.name}`}>
        Delete
      </Button>
    </div>
  );
  return (
    <Page title="Categories" className="catalogue">
      <nav className="crumbs" aria-label="Where you are">
        <Link href="/staff">Catalogue</Link>
      </nav>
      <div className="catalogue-top">
        <h1>Categories</h1>
        <Button look="primary" onPress={() => setDraft({ parent: '' })}>
          New aisle
        </Button>
      </div>
      {error && !data ? (
        <Failure error={error} retry={() => again({ requestPolicy: 'network-only' })} />
      ) : (
        <ul className="tree">
          {data
            ? aisles.map((aisle) => (
                <li key={aisle.id} className={`tree-aisle ${hue(aisle.name)}`}>
                  <Drawing of={emblem(aisle.name)} />
                  {line(aisle, '')}
                  <ul>
                    {byPosition(aisle.children).map((shelf) => (
                      <li key={shelf.id}>{line(shelf, aisle.id)}</li>
                    ))}
                  </ul>
                  <Button onPress={() => setDraft({ parent: aisle.id })}>New shelf in {aisle.name}</Button>
                </li>
              ))
            : [0, 1, 2].map((index) => (
                <li key={index} className="tree-aisle hue-none">
                  <Bone className="bone-long" />
                </li>
              ))}
        </ul>
      )}
      {draft && (
        <Edit
          draft={draft}
          parents={aisles.filter(({ id }) => id !== draft.category?.id)}
          onClose={() => setDraft(undefined)}
        />
      )}
    </Page>
  );
}

function Edit({ draft, parents, onClose }: { draft: Draft; parents: readonly Aisle[]; onClose: () => void }) {
  const client = useClient();
  const { category } = draft;
  const [parent, setParent] = useState(draft.parent);
  const [problems, setProblems] = useState<Problems>(none);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const values = new FormData(event.currentTarget);
    const text = (name: string) => String(values.get(name) ?? '').trim();
    if (!/^-?\d{1,9}$/.test(text('position'))) {
      setProblems({ fields: { position: 'Give a whole number.' }, rest: [] });
      return;
    }
    const wanted = { name: text('name'), slug: text('slug') || null, parentId: parent || null, position: Number(text('position')) };
    const { errors, error, saved } = category
      ? await client
          .mutation(UpdateCategoryDocument, { id: category.id, patch: wanted })
          .toPromise()
          .then(({ data, error }) => ({ error, errors: data?.updateCategory?.errors, saved: data?.updateCategory?.category }))
      : await client
          .mutation(CreateCategoryDocument, { input: wanted })
          .toPromise()
          .then(({ data, error }) => ({ error, errors: data?.createCategory?.errors, saved: data?.createCategory?.category }));
    if (saved) {
      onClose();
      say(`${saved.name} is saved.`);
    } else {
      setProblems(error ? refused(error) : sorted(errors ?? [], ['name', 'slug', 'position', 'parentId']));
    }
  };
  return (
    <Sheet title={category ? category.name : 'A new category'} isOpen onClose={onClose}>
      <Form problems={problems.fields} onSubmit={(event) => void submit(event)}>
        <Complaints of={problems.rest} />
        <Field label="Name" name="name" defaultValue={category?.name ?? ''} isRequired autoFocus />
        <Field label="Name in the address" name="slug" defaultValue={category?.slug ?? ''} placeholder="made from the name" />
        <Choose
          label="In"
          name="parentId"
          value={parent}
          onChange={setParent}
          choices={[{ id: '', label: 'The top: an aisle of its own' }, ...parents.map(({ id, name }) => ({ id, label: name }))]}
        />
        <Field label="Place among the others" name="position" defaultValue={String(category?.position ?? 0)} inputMode="numeric" help="The smallest comes first." />
        <Button look="primary" type="submit">
          Save
        </Button>
      </Form>
    </Sheet>
  );
}
