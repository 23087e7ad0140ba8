import { server } from '../api/server';
import type { Model } from '../api/types';
import { readDropped, useDropTarget } from '../parts/dropped';
import { FileButton } from '../parts/FileButton';
import { useWords } from '../words/words';
import { Slot } from './Slot';
import { Unplaced } from './Unplaced';
import type { Patient } from './usePatient';

interface PictureDropProps {
  model: Model;
  patient: Patient;
}

/** The place for pictures: one slot a modality, and a drop for all of them at once. */
export function PictureDrop({ model, patient }: PictureDropProps) {
  const { words } = useWords();
  const drop = useDropTarget((transfer) => {
    void readDropped(transfer).then((placed) => {
      patient.add(placed.map(({ file }) => file));
    });
  });
  const unplaced = patient.pictures.filter((picture) => picture.modality === null);
  return (
    <div className={drop.over ? 'drop drop-over' : 'drop'} {...drop.handlers}>
      <div className="drop-head">
        <div>
          <p className="drop-title">{drop.over ? words.patient.dropping : words.patient.dropTitle}</p>
          <p className="dim small">{server.fetching ? words.local.drop : words.patient.drop}</p>
        </div>
        <FileButton label={words.patient.choose} onFiles={patient.add} />
      </div>
      <ul className="slots">
        {model.modalities.map((modality) => (
          <Slot
            key={modality}
            modality={modality}
            model={model}
            picture={patient.pictures.find((each) => each.modality === modality)}
            patient={patient}
          />
        ))}
      </ul>
      {unplaced.length > 0 && <Unplaced model={model} pictures={unplaced} patient={patient} />}
    </div>
  );
}
