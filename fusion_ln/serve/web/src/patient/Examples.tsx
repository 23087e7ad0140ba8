import { useState } from 'react';
import { server } from '../api/server';
import type { Example, Model } from '../api/types';
import { ProblemNote } from '../parts/ProblemNote';
import { useLoaded } from '../parts/load';
import { useWords } from '../words/words';

interface ExamplesProps {
  model: Model;
  onTake: (example: Example) => Promise<void>;
}

/** Simulated patients, one or more of each class, to try the model on. */
export function Examples({ model, onTake }: ExamplesProps) {
  const { words, title } = useWords();
  const { loaded } = useLoaded(server.examples);
  const [error, setError] = useState<unknown>(null);
  if (loaded.state !== 'ready' || loaded.value.length === 0) return null;
  return (
    <div className="examples">
      <p className="dim">{words.patient.examples}</p>
      <ul>
        {loaded.value.map((example) => {
          const name = title(example.class, model.class_titles);
          return (
            <li key={example.name}>
              <button
                type="button"
                className="example"
                aria-label={words.patient.example(name)}
                onClick={() => {
                  setError(null);
                  onTake(example).catch(setError);
                }}
              >
                <span className="example-views">
                  {Object.entries(example.pictures).map(([modality, url]) => (
                    <img key={modality} src={url} alt="" loading="lazy" />
                  ))}
                </span>
                {name}
              </button>
            </li>
          );
        })}
      </ul>
      {error !== null && <ProblemNote error={error} />}
    </div>
  );
}
