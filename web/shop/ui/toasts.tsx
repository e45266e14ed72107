import {
  Text,
  UNSTABLE_Toast as Toast,
  UNSTABLE_ToastContent as ToastContent,
  UNSTABLE_ToastQueue as ToastQueue,
  UNSTABLE_ToastRegion as ToastRegion,
} from 'react-aria-components';

import { Button } from './button';
import { Icon } from './icons';

interface Notice {
  text: string;
  tone?: 'bad';
  action?: { label: string; run: () => void };
}

const queue = new ToastQueue<Notice>({ maxVisibleToasts: 3 });

/** Says something at the edge of the page. Gives what takes it away again. */
export function say(text: string, notice: Omit<Notice, 'text'> & { timeout?: number; onClose?: () => void } = {}): () => void {
  const { timeout = 6000, onClose, ...rest } = notice;
  const key = queue.add({ text, ...rest }, { timeout, onClose });
  return () => queue.close(key);
}

export function Toasts() {
  return (
    <ToastRegion queue={queue} className="toasts">
      {({ toast }) => (
        <Toast toast={toast} className={`toast ${toast.content.tone === 'bad' ? 'toast-bad' : ''}`}>
          <ToastContent>
            <Text slot="title">{toast.content.text}</Text>
          </ToastContent>
          {toast.content.action && (
            <Button
              look="quiet"
              onPress={() => {
                toast.content.action?.run();
                queue.close(toast.key);
              }}
            >
              {toast.content.action.label}
            </Button>
          )}
          <Button look="icon" slot="close" aria-label="Close">
            <Icon name="close" />
          </Button>
        </Toast>
      )}
    </ToastRegion>
  );
}
