import type { Model } from '../api/types';
import { useWords } from '../words/words';
import type { Picture } from './pictures';

interface ModalityChoiceProps {
  picture: Picture;
  model: Model;
  onChoose: (id: number, modality: string | null) => void;
}

/** The modality that a picture is taken for, to be corrected by hand. */
export function ModalityChoice({ picture, model, onChoose }: ModalityChoiceProps) {
  const { words, title } = useWords();
  return (
    <select
      className="choice"
      aria-label={words.patient.modalityOf(picture.file.name)}
      value={picture.modality ?? ''}
      onChange={(event) => {
        onChoose(picture.id, event.target.value || null);
      }}
    >
      <option value="">{words.patient.unknown}</option>
      {model.modalities.map((modality) => (
        <option key={modality} value={modality}>
          {title(modality, model.modality_titles)}
        </option>
      ))}
    </select>
  );
}
