import { useState, type DragEvent } from 'react';

/** A file, and where it lies in the folder that was given. */
export interface PlacedFile {
  path: string;
  file: File;
}

export function place(files: Iterable<File>): PlacedFile[] {
  return [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** Whether files or folders were dropped, and not, say, a piece of text. */
export function holdsFiles(transfer: DataTransfer): boolean {
  return [...transfer.items].some(({ kind }) => kind === 'file');
}

/** All files of what was dropped, those of folders included. */
export async function readDropped(transfer: DataTransfer): Promise<PlacedFile[]> {
  const entries = [...transfer.items].filter(({ kind }) => kind === 'file').map((item) => item.webkitGetAsEntry());
  const files = [...transfer.files];
  const found = await Promise.all(entries.map(async (entry, n) => (entry?.isDirectory ? walk(entry) : place(files.slice(n, n + 1)))));
  return found.flat();
}

async function walk(entry: FileSystemEntry): Promise<PlacedFile[]> {
  if (isFile(entry)) {
    const file = await new Promise<File>((resolve, reject) => {
      entry.file(resolve, reject);
    });
    return [{ path: entry.fullPath.replace(/^\//, ''), file }];
  }
  if (!isFolder(entry)) return [];
  const reader = entry.createReader();
  const found: PlacedFile[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => {
      reader.readEntries(resolve, reject);
    });
    if (some.length === 0) return found; // a browser lists at most a hundred at once
    found.push(...(await Promise.all(some.map(walk))).flat());
  }
}

function isFile(entry: FileSystemEntry): entry is FileSystemFileEntry {
  return entry.isFile;
}

function isFolder(entry: FileSystemEntry): entry is FileSystemDirectoryEntry {
  return entry.isDirectory;
}

interface DropTarget {
  over: boolean;
  handlers: Pick<React.DOMAttributes<HTMLElement>, 'onDragOver' | 'onDragLeave' | 'onDrop'>;
}

/** Handlers of a place that files may be dropped on. */
export function useDropTarget(onDrop: (transfer: DataTransfer) => void): DropTarget {
  const [over, setOver] = useState(false);
  return {
    over,
    handlers: {
      onDragOver: (event: DragEvent<HTMLElement>) => {
        event.preventDefault();
        event.stopPropagation();
        setOver(true);
      },
      onDragLeave: (event: DragEvent<HTMLElement>) => {
        if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setOver(false);
      },
      onDrop: (event: DragEvent<HTMLElement>) => {
        event.preventDefault();
        event.stopPropagation();
        setOver(false);
        onDrop(event.dataTransfer);
      },
    },
  };
}
