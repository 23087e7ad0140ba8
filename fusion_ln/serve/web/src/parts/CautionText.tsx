import { Coded } from './Coded';
import type { SaidCaution } from './caution';

/** A warning and, after it, the server's own words where they are of another language. */
export function CautionText({ said, original }: SaidCaution) {
  return (
    <>
      <Coded>{said}</Coded>
      {original && (
        <span lang="en">
          {' '}
          <Coded>{original}</Coded>
        </span>
      )}
    </>
  );
}
