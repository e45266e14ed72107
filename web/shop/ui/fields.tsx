import { type ReactNode, use } from 'react';
import {
  Button as AriaButton,
  Checkbox as AriaCheckbox,
  FieldError,
  Input,
  Label,
  ListBox,
  ListBoxItem,
  Popover,
  Select as AriaSelect,
  SelectValue,
  Text,
  TextArea,
  TextField,
  type TextFieldProps,
} from 'react-aria-components';

import { FieldProblems } from './form';
import { Icon } from './icons';

interface FieldProps extends Omit<TextFieldProps, 'className' | 'children'> {
  label: string;
  help?: ReactNode;
  lines?: number;
  className?: string;
  placeholder?: string;
  inputMode?: 'decimal' | 'numeric';
}

/** A text with its label, its help, and what is wrong with it. */
export function Field({ label, help, lines, className = '', placeholder, inputMode, ...props }: FieldProps) {
  const problem = use(FieldProblems)[props.name ?? ''];
  return (
    <TextField {...props} className={`field ${className}`} isInvalid={problem !== undefined}>
      <Label>{label}</Label>
      {lines === undefined ? (
        <Input className="input" placeholder={placeholder} inputMode={inputMode} />
      ) : (
        <TextArea className="input" rows={lines} placeholder={placeholder} />
      )}
      {help !== undefined && (
        <Text slot="description" className="help">
          {help}
        </Text>
      )}
      <FieldError className="problem">{problem}</FieldError>
    </TextField>
  );
}

export interface Choice {
  id: string;
  label: string;
  indent?: boolean;
}

interface ChooseProps {
  label: string;
  choices: readonly Choice[];
  value: string;
  onChange: (value: string) => void;
  name?: string;
  className?: string;
  hideLabel?: boolean;
}

/** One of a few. */
export function Choose({ label, choices, value, onChange, name, className = '', hideLabel = false }: ChooseProps) {
  const problem = use(FieldProblems)[name ?? ''];
  return (
    <AriaSelect
      className={`field ${className}`}
      isInvalid={problem !== undefined}
      name={name}
      value={value}
      onChange={(key) => onChange(String(key))}
      aria-label={hideLabel ? label : undefined}
    >
      {!hideLabel && <Label>{label}</Label>}
      <AriaButton className="input select">
        <SelectValue />
        <Icon name="down" />
      </AriaButton>
      <FieldError className="problem">{problem}</FieldError>
      <Popover className="popover" offset={6}>
        <ListBox className="listbox" items={choices}>
          {(choice) => (
            <ListBoxItem id={choice.id} textValue={choice.label} className={`option ${choice.indent ? 'option-below' : ''}`}>
              {choice.label}
            </ListBoxItem>
          )}
        </ListBox>
      </Popover>
    </AriaSelect>
  );
}

interface TickProps {
  children: ReactNode;
  value?: string;
  isSelected?: boolean;
  onChange?: (selected: boolean) => void;
}

export function Tick({ children, ...props }: TickProps) {
  return (
    <AriaCheckbox {...props} className="tick">
      <span className="tick-box">
        <Icon name="check" />
      </span>
      {children}
    </AriaCheckbox>
  );
}
