import { useEffect, useRef, useState } from 'preact/hooks';

interface DropZoneProps {
  readonly onFile: (file: File) => void;
  /** Small, once there is a picture. */
  readonly compact: boolean;
}

const firstImage = (files: FileList | undefined | null) =>
  [...(files ?? [])].find(({ type }) => type.startsWith('image/'));

/** Takes a picture by choosing, dropping (anywhere on the page) or pasting. */
export function DropZone({ onFile, compact }: DropZoneProps) {
  const [over, setOver] = useState(false);
  const take = useRef(onFile);
  take.current = onFile;
  useEffect(() => {
    const onDragOver = (event: DragEvent) => {
      event.preventDefault();
      setOver(true);
    };
    const onDragLeave = (event: DragEvent) => {
      if (event.relatedTarget === null) setOver(false);
    };
    const onDrop = (event: DragEvent) => {
      event.preventDefault();
      setOver(false);
      const file = firstImage(event.dataTransfer?.files);
      if (file) take.current(file);
    };
    const onPaste = (event: ClipboardEvent) => {
      const file = firstImage(event.clipboardData?.files);
      if (file) take.current(file);
    };
    addEventListener('dragover', onDragOver);
    addEventListener('dragleave', onDragLeave);
    addEventListener('drop', onDrop);
    addEventListener('paste', onPaste);
    return () => {
      removeEventListener('dragover', onDragOver);
      removeEventListener('dragleave', onDragLeave);
      removeEventListener('drop', onDrop);
      removeEventListener('paste', onPaste);
    };
  }, []);
  return (
    <label class={`drop ${compact ? 'compact' : ''} ${over ? 'over' : ''}`}>
      <input
        type="file"
        accept="image/*"
        aria-label="Choose an image"
        onChange={({ currentTarget }) => {
          const file = currentTarget.files?.[0];
          if (file) onFile(file);
          currentTarget.value = '';
        }}
      />
      {compact ? (
        <span>Another image</span>
      ) : (
        <>
          <svg viewBox="0 0 48 48" aria-hidden="true">
            <rect x="6" y="9" width="36" height="30" rx="5" />
            <circle cx="17" cy="20" r="3.5" />
            <path d="m8 35 11-10 7 6 6-6 8 8" />
          </svg>
          <strong>Drop an image here</strong>
          <span>or choose one, or paste it</span>
        </>
      )}
    </label>
  );
}
