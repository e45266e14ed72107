import type { ReactNode } from 'react';
import { Dialog, Heading, Modal, ModalOverlay } from 'react-aria-components';

import { Button } from './button';
import { Icon } from './icons';

interface SheetProps {
  title: string;
  isOpen: boolean;
  onClose: () => void;
  children: ReactNode;
  /** At the side of a desktop, at the bottom of a phone; else in the middle. */
  side?: boolean;
  wide?: boolean;
}

export function Sheet({ title, isOpen, onClose, children, side = false, wide = false }: SheetProps) {
  return (
    <ModalOverlay className="veil" isOpen={isOpen} onOpenChange={(open) => !open && onClose()} isDismissable>
      <Modal className={`sheet ${side ? 'sheet-side' : ''} ${wide ? 'sheet-wide' : ''}`}>
        <Dialog className="dialog">
          <div className="dialog-top">
            <Heading slot="title">{title}</Heading>
            <Button look="icon" slot="close" aria-label="Close">
              <Icon name="close" />
            </Button>
          </div>
          {children}
        </Dialog>
      </Modal>
    </ModalOverlay>
  );
}
