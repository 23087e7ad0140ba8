import { Button, Progress } from 'antd';
import type { Model } from '../api/types';
import { holdsFiles, place, readDropped, useDropTarget, type PlacedFile } from '../parts/dropped';
import { FileButton } from '../parts/FileButton';
import { Note } from '../parts/Note';
import { useWords } from '../words/words';
import { BatchTable } from './BatchTable';
import { groupFiles } from './group';
import { Layouts } from './Layouts';
import { SaveBatch } from './SaveBatch';
import { UnusedFiles } from './UnusedFiles';
import type { BatchRun } from './useBatch';
import '../style/batch.css';

/** Many patients: a folder or a table in, a table out. */
export default function BatchPage({ model, batch }: { model: Model; batch: BatchRun }) {
  const { words } = useWords();
  const give = async (files: PlacedFile[]): Promise<void> => {
    batch.prepare(await groupFiles(files, model));
  };
  const drop = useDropTarget((transfer) => {
    if (holdsFiles(transfer)) void readDropped(transfer).then(give);
  });
  const { rows, unused, running } = batch;
  const answered = rows.filter((row) => row.state === 'done' || row.state === 'failed').length;
  const open = rows.some((row) => row.state !== 'done');
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
        {unused !== null && rows.length === 0 && <Note kind="warn" alert title={words.batch.none} />}
        {unused !== null && unused.length > 0 && <UnusedFiles unused={unused} />}
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
                open && (
                  <Button type="primary" onClick={batch.start}>
                    {answered > 0 ? words.batch.again : words.batch.start}
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
