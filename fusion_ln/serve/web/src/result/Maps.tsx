import { Button, Segmented, Slider } from 'antd';
import { useState } from 'react';
import type { Explanation, Model } from '../api/types';
import { Coded } from '../parts/Coded';
import { Loading } from '../parts/Loading';
import { ProblemNote } from '../parts/ProblemNote';
import type { Asked, Patient } from '../patient/usePatient';
import { useWords } from '../words/words';
import { MapFigure } from './MapFigure';
import { sayTrust } from './trust';

interface MapsProps {
  model: Model;
  explanation: Asked<Explanation>;
  patient: Patient;
  /** Class that is explained, until the explanation names its own. */
  target: string;
}

/** Where the model looked: maps over the pictures, once they are there. */
export function Maps({ model, explanation, patient, target }: MapsProps) {
  const { words, title } = useWords();
  const shown = explanation.state === 'done' ? title(explanation.value.target, model.class_titles) : target;
  return (
    <section className="card maps" aria-labelledby="maps" aria-busy={explanation.state === 'asking'}>
      <h3 id="maps">{words.maps.title}</h3>
      <p className="dim small">{words.maps.note(shown)}</p>
      {explanation.state === 'asking' && (
        <div className="maps-wait">
          <Loading label={explanation.wait === null ? words.maps.asking : words.busy(explanation.wait)} />
          <Button onClick={patient.cancel}>{words.cancel}</Button>
        </div>
      )}
      {explanation.state === 'idle' && <Button onClick={patient.explain}>{words.tryAgain}</Button>}
      {explanation.state === 'failed' && <ProblemNote error={explanation.error} onAgain={patient.explain} />}
      {explanation.state === 'done' && <MapViews model={model} explanation={explanation.value} />}
    </section>
  );
}

function MapViews({ model, explanation }: { model: Model; explanation: Explanation }) {
  const { words, title, points } = useWords();
  const methods = explanation.methods;
  const [chosen, setChosen] = useState(methods.find((each) => each.trusted)?.name ?? methods[0]?.name ?? '');
  const [beside, setBeside] = useState(false);
  const [opacity, setOpacity] = useState(55);
  const method = methods.find((each) => each.name === chosen);
  return (
    <>
      <div className="maps-controls">
        {methods.length === 1 && <span className="dim small">{method?.title}</span>}
        {methods.length > 1 && (
          <Segmented
            aria-label={words.maps.method}
            value={chosen}
            onChange={setChosen}
            options={methods.map(({ name, title: label, trusted }) => ({
              value: name,
              label: trusted ? `${label} · ${words.maps.trusted}` : label,
            }))}
          />
        )}
        <Segmented
          aria-label={words.maps.view}
          value={beside ? 'beside' : 'overlay'}
          onChange={(next) => {
            setBeside(next === 'beside');
          }}
          options={[
            { value: 'overlay', label: words.maps.overlay },
            { value: 'beside', label: words.maps.beside },
          ]}
        />
        <div className="opacity">
          <span id="opacity">{words.maps.opacity}</span>
          <Slider
            min={0}
            max={100}
            value={opacity}
            onChange={setOpacity}
            tooltip={{ open: false }}
            ariaLabelledByForHandle="opacity"
            ariaValueTextFormatterForHandle={(value) => `${value} %`}
          />
        </div>
      </div>
      <p className="dim small on-paper">
        {words.maps.method}: <span lang="en">{method?.title}</span>
      </p>
      <ul className={beside ? 'figures figures-beside' : 'figures'}>
        {Object.entries(explanation.pictures).map(([modality, picture]) => (
          <MapFigure
            key={modality}
            title={title(modality, model.modality_titles)}
            picture={picture}
            map={explanation.maps[modality]?.[chosen]}
            method={method?.title ?? chosen}
            opacity={opacity / 100}
            beside={beside}
          />
        ))}
      </ul>
      <p className="dim small">
        <Coded>{sayTrust(model.map_tests, methods, words, points)}</Coded>
      </p>
    </>
  );
}
