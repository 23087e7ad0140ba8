import { Button } from 'antd';
import { Coded } from '../parts/Coded';
import { sayProblem } from '../parts/problem';
import { useWords } from '../words/words';
import type { Picture } from './pictures';

/** Preview of a picture, as the server decoded it. */
export function PictureView({ picture, label }: { picture: Picture; label: string }) {
  const { words } = useWords();
  if (picture.info) {
    return <img className="slot-view" src={picture.info.preview} alt={label} />;
  }
  return (
    <div className="slot-view slot-waits">
      {picture.error === null && (
        <span role="status" className="small dim">
          {words.patient.reading}
        </span>
      )}
    </div>
  );
}

/** Why a picture could not be read, if it could not. */
export function PictureProblem({ picture: { error } }: { picture: Picture }) {
  const { words } = useWords();
  if (error === null) {
    return null;
  }
  const { title, way, original } = sayProblem(error, words);
  return (
    <p className="bad small" role="alert">
      {title.replace(/^picture: (.)/, (_, first: string) => first.toUpperCase())} <Coded>{way}</Coded>
      {original && <span lang="en"> {original}</span>}
    </p>
  );
}

/** Button that takes a picture away. */
export function RemovePicture({ picture, onRemove }: { picture: Picture; onRemove: (id: number) => void }) {
  const { words } = useWords();
  return (
    <Button
      type="text"
      size="small"
      onClick={() => {
        onRemove(picture.id);
      }}
    >
      {words.remove}
      <span className="sr"> {picture.file.name}</span>
    </Button>
  );
}
