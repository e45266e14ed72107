import { createContext, type FormEvent, type ReactNode } from 'react';
import { Form as AriaForm } from 'react-aria-components';

/** What is wrong with the fields of a form, by their names. */
export const FieldProblems = createContext<Readonly<Record<string, string>>>({});

interface FormProps {
  problems: Readonly<Record<string, string>>;
  onSubmit: (event: FormEvent<HTMLFormElement>) => void;
  className?: string;
  children: ReactNode;
}

/**
 * The server says what is wrong, and that stays beside the fields until it is asked again: nothing moves under the
 * pointer of somebody who is about to press the button.
 */
export function Form({ problems, onSubmit, className = '', children }: FormProps) {
  return (
    <FieldProblems value={problems}>
      <AriaForm validationBehavior="aria" className={`form ${className}`} onSubmit={onSubmit}>
        {children}
      </AriaForm>
    </FieldProblems>
  );
}
