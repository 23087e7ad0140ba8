import type { SaidCaution } from './caution';

/** A warning and, after it, the server's own words where they are of another language. */
export function CautionText({ said, original }: SaidCaution) {
  return (
    <>
      {said}
      {original && <span lang="en"> {original}</span>}
    </>
  );
}
