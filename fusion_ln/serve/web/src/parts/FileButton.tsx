import { Button } from 'antd';
import { useRef } from 'react';

interface FileButtonProps {
  label: string;
  onFiles: (files: File[]) => void;
  /** Ask for a folder instead of files. */
  folder?: boolean;
  primary?: boolean;
  disabled?: boolean;
}

/** A button that opens the browser's choice of files. */
export function FileButton({ label, onFiles, folder = false, primary = false, disabled = false }: FileButtonProps) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <Button type={primary ? 'primary' : 'default'} disabled={disabled} onClick={() => input.current?.click()}>
        {label}
      </Button>
      <input
        ref={input}
        type="file"
        multiple
        hidden
        webkitdirectory={folder ? '' : undefined}
        onChange={(event) => {
          onFiles([...(event.target.files ?? [])]);
          event.target.value = '';
        }}
      />
    </>
  );
}
