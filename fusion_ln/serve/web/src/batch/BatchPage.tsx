import { Button, Progress } from 'antd';
import { useState } from 'react';
import type { Model } from '../api/types';
import { place, readDropped, useDropTarget, type PlacedFile } from '../parts/dropped';
import { FileButton } from '../parts/FileButton';
import { useWords } from '../words/words';
import { BatchTable } from './BatchTable';
import { groupFiles, type Unused } from './group';
import { Layouts } from './Layouts';
import { SaveBatch } from './SaveBatch';
import { UnusedFiles } from './UnusedFiles';
import { useBatch } from './useBatch';
import '../style/batch.css';

/** Many patients: a folder or a table in, a table out. */
export default function BatchPage({ model }: { model: Model }) {
  const { words } = useWords();
  const batch = useBatch();
  const [unused, setUnused] = useState<Unused[]>([]);
  const give = async (files: PlacedFile[]): Promise<void> => {
    const grouped = await groupFiles(files, model);
    setUnused(grouped.unused);
    batch.prepare(grouped.patients);
  };
  const drop = useDropTarget((transfer) => {
    void readDropped(transfer).then(give);
  });
  const { rows, running } = batch;
  const answered = rows.filter((row) => row.state === 'done' || row.state === 'failed').length;
  const pictures = rows.reduce((sum, row) => sum + Object.keys(row.patient.pictures).length, 0);
  return (
    <>
      <div className="page-head">
        <h1>{words.batch.title}</h1>
        <p className="lead">{words.batch.lead}</p>
      </div>
      <section className="card" aria-label={words.batch.title}>
        <div className={drop.over ? 'drop drop-wide drop-over' : 'drop drop-wide'} {...drop.handlers}>
          <p className="drop-title">{drop.over ? words.patient.dropping : words.batch.dropTitle}</p>
          <div className="drop-buttons">
            <FileButton folder label={words.batch.folder} disabled={running} onFiles={(files) => void give(place(files))} />
            <FileButton label={words.batch.files} disabled={running} onFiles={(files) => void give(place(files))} />
          </div>
        </div>
        <Layouts model={model} />
        {unused.length > 0 && <UnusedFiles unused={unused} />}
        {rows.length > 0 && (
          <div className="batch-run">
            <p role="status">
              {running || answered > 0
                ? words.batch.progress(answered, rows.length)
                : words.batch.found(rows.length, pictures)}
            </p>
            {(running || answered > 0) && (
              <Progress
                percent={Math.round((100 * answered) / rows.length)}
                showInfo={false}
                status="normal"
                aria-label={words.batch.asking}
              />
            )}
            {batch.wait !== null && <p className="dim small">{words.busy(batch.wait)}</p>}
            <div className="save-row">
              {running ? (
                <Button onClick={batch.cancel}>{words.cancel}</Button>
              ) : (
                answered < rows.length && (
                  <Button type="primary" onClick={batch.start}>
                    {words.batch.start}
                  </Button>
                )
              )}
              {answered > 0 && !running && <SaveBatch model={model} rows={rows} />}
            </div>
          </div>
        )}
      </section>
      {rows.length > 0 && <BatchTable model={model} rows={rows} />}
    </>
  );
}
