import type { CombinedError } from 'urql';

import { explain } from './states';

interface Problem {
  __typename?: string;
  code: string;
  message: string;
  path?: readonly string[] | null;
  retryAfterSeconds?: number | null;
}

export interface Problems {
  /** By the name of the field: the path of the argument without what holds them all. */
  fields: Record<string, string>;
  /** What belongs to no field that the form has. */
  rest: string[];
}

export const none: Problems = { fields: {}, rest: [] };

const sentence = (text: string): string => {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
};

/** Sorts a payload's errors to the fields of a form. `names` translates paths to the form's own names. */
export function sorted(
  errors: readonly Problem[],
  fields: readonly string[],
  names: Record<string, string> = {},
): Problems {
  const found: Problems = { fields: {}, rest: [] };
  for (const { message, path } of errors) {
    const steps = (path ?? []).filter((step, index) => index > 0 || !['input', 'patch'].includes(step));
    // The most exact name that the form knows: tags.3 is shown at tags.
    const paths = steps.map((_, index) => steps.slice(0, steps.length - index).join('.'));
    const name = paths.map((known) => names[known] ?? known).find((known) => fields.includes(known));
    if (name === undefined) {
      found.rest.push(sentence(message));
    } else {
      found.fields[name] ??= sentence(message);
    }
  }
  return found;
}

/** A request that was refused whole. */
export function refused(error: CombinedError): Problems {
  return { fields: {}, rest: [explain(error)] };
}
