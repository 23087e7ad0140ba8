import { useRef } from 'react';
import type { Model } from '../api/types';
import { CautionText } from '../parts/CautionText';
import { sayCautions } from '../parts/caution';
import { useDropTarget } from '../parts/dropped';
import { useWords } from '../words/words';
import { ModalityChoice } from './ModalityChoice';
import { PictureProblem, PictureView, RemovePicture } from './PictureParts';
import type { Picture } from './pictures';
import type { Patient } from './usePatient';

interface SlotProps {
  modality: string;
  model: Model;
  picture: Picture | undefined;
  patient: Patient;
}

/** The place of one modality: empty, or with its picture. */
export function Slot({ modality, model, picture, patient }: SlotProps) {
  const { title } = useWords();
  const drop = useDropTarget((transfer) => {
    patient.add([...transfer.files], modality);
  });
  const [light, dark] = model.modality_colours[modality] ?? ['#566a71', '#9fb2b8'];
  const colours = { '--mark-light': light, '--mark-dark': dark } as React.CSSProperties;
  return (
    <li className={drop.over ? 'slot slot-over' : 'slot'} style={colours} {...drop.handlers}>
      <p className="slot-title">{title(modality, model.modality_titles)}</p>
      <div className={picture ? 'slot-body' : 'slot-body slot-body-empty'}>
        {picture ? (
          <Filled picture={picture} model={model} patient={patient} />
        ) : (
          <Empty
            modality={title(modality, model.modality_titles)}
            onFiles={(files) => {
              patient.add(files, modality);
            }}
          />
        )}
      </div>
    </li>
  );
}

function Empty({ modality, onFiles }: { modality: string; onFiles: (files: File[]) => void }) {
  const { words } = useWords();
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button
        type="button"
        className="slot-empty"
        onClick={() => input.current?.click()}
      >
        <span className="slot-plus" aria-hidden="true">
          +
        </span>
        <span className="small">
          {words.patient.chooseOne}
          <span className="sr">: {modality}</span>
        </span>
      </button>
      <input
        ref={input}
        type="file"
        hidden
        onChange={(event) => {
          onFiles([...(event.target.files ?? [])]);
          event.target.value = '';
        }}
      />
    </>
  );
}

function Filled({ picture, model, patient }: { picture: Picture; model: Model; patient: Patient }) {
  const { words, title } = useWords();
  const { info, guess } = picture;
  const modality = title(picture.modality ?? '', model.modality_titles);
  return (
    <>
      <PictureView picture={picture} label={words.patient.picture(modality)} />
      <div className="slot-facts">
        <p className="slot-file small" title={picture.file.name}>
          {picture.file.name}
        </p>
        {picture.guessed && <p className="dim small">{words.patient.guessed}</p>}
        {guess !== null && guess !== picture.modality && (
          <p className="caution small">{words.patient.differs(title(guess, model.modality_titles))}</p>
        )}
        {info &&
          sayCautions(info, words).map((each) => (
            <p key={each.text} className="caution small">
              <CautionText {...each} />
            </p>
          ))}
        <PictureProblem picture={picture} />
        <ModalityChoice picture={picture} model={model} onChoose={patient.move} />
        <RemovePicture picture={picture} onRemove={patient.remove} />
      </div>
    </>
  );
}
