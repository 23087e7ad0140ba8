import type { Model } from '../api/types';
import { useWords } from '../words/words';
import { ModalityChoice } from './ModalityChoice';
import { PictureProblem, PictureView, RemovePicture } from './PictureParts';
import type { Picture } from './pictures';
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
  const unread = pictures.every((picture) => picture.error !== null);
  return (
    <div className="unplaced">
      {told && <p className="caution">{unread ? words.patient.unread : words.patient.unplaced}</p>}
      <ul>
        {pictures.map((picture) => (
          <li key={picture.id}>
            <PictureView picture={picture} label={picture.file.name} />
            <div>
              <p className="slot-file small">{picture.file.name}</p>
              {picture.guess !== null && (
                <p className="dim small">{words.patient.differs(title(picture.guess, model.modality_titles))}</p>
              )}
              <PictureProblem picture={picture} />
              <div className="slot-row">
                {picture.error === null && (
                  <ModalityChoice picture={picture} model={model} onChoose={patient.move} />
                )}
                <RemovePicture picture={picture} onRemove={patient.remove} />
              </div>
            </div>
          </li>
        ))}
      </ul>
    </div>
  );
}
