import { Button as AriaButton, type ButtonProps as AriaButtonProps } from 'react-aria-components';

interface ButtonProps extends Omit<AriaButtonProps, 'className' | 'isPending'> {
  /** What it began is under way: it does not begin again. */
  isPending?: boolean;
  look?: 'primary' | 'plain' | 'quiet' | 'danger' | 'icon';
  className?: string;
}

export function Button({ look = 'plain', className = '', isPending = false, type, ...props }: ButtonProps) {
  return (
    <AriaButton
      {...props}
      type={isPending ? 'button' : type}
      className={`button button-${look} ${isPending ? 'button-pending' : ''} ${className}`}
    />
  );
}
