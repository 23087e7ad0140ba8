import { Button } from 'antd';
import { Problem } from '../api/client';
import type { Model } from '../api/types';
import { useWords } from '../words/words';
import { ModalityChoice } from './ModalityChoice';
import type { Picture } from './pictures';
import { PictureView } from './Slot';
import type { Patient } from './usePatient';

interface UnplacedProps {
  model: Model;
  pictures: Picture[];
  patient: Patient;
}

/** Pictures whose modality is not known yet. */
export function Unplaced({ model, pictures, patient }: UnplacedProps) {
  const { words, title } = useWords();
  const told = pictures.some((picture) => picture.info !== null || picture.error !== null);
  return (
    <div className="unplaced">
      {told && <p className="caution">{words.patient.unplaced}</p>}
      <ul>
        {pictures.map((picture) => (
          <li key={picture.id}>
            <PictureView picture={picture} label={picture.file.name} />
            <div>
              <p className="slot-file small">{picture.file.name}</p>
              {picture.guess !== null && (
                <p className="dim small">{words.patient.differs(title(picture.guess, model.modality_titles))}</p>
              )}
              {picture.error !== null && (
                <p className="bad small" role="alert" lang="en">
                  {picture.error instanceof Problem && picture.error.status > 0
                    ? `${picture.error.detail} ${picture.error.wayOut}`
                    : words.unreachable}
                </p>
              )}
              <div className="slot-row">
                {picture.error === null && (
                  <ModalityChoice picture={picture} model={model} onChoose={patient.move} />
                )}
                <Button
                  type="text"
                  size="small"
                  onClick={() => {
                    patient.remove(picture.id);
                  }}
                >
                  {words.remove}
                  <span className="sr"> {picture.file.name}</span>
                </Button>
              </div>
            </div>
          </li>
        ))}
      </ul>
    </div>
  );
}
