import { useWords } from '../words/words';

interface MapFigureProps {
  title: string;
  picture: string;
  map: string | undefined;
  method: string;
  opacity: number;
  beside: boolean;
}

/** A picture under its map, or beside it. */
export function MapFigure({ title, picture, map, method, opacity, beside }: MapFigureProps) {
  const { words } = useWords();
  const plain = <img src={picture} alt={words.maps.pictureAlt(title)} />;
  return (
    <li className="figure">
      {beside && (
        <figure>
          {plain}
          <figcaption>
            {title} · {words.maps.picture}
          </figcaption>
        </figure>
      )}
      <figure>
        <span className="stack">
          {beside ? <img src={picture} alt="" /> : plain}
          {map && <img className="map" src={map} alt={words.maps.mapAlt(method, title)} style={{ opacity }} />}
        </span>
        <figcaption>{beside ? `${title} · ${words.maps.map}` : title}</figcaption>
      </figure>
    </li>
  );
}
