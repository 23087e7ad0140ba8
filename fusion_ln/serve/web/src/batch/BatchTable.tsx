import { Table, type TableColumnsType } from 'antd';
import type { Model } from '../api/types';
import { likeliest } from '../result/sets';
import { useWords } from '../words/words';
import { describeError, type Row } from './useBatch';

const PAGE = 50; // rows

/** The patients of a batch, with their answers as they come. */
export function BatchTable({ model, rows }: { model: Model; rows: Row[] }) {
  const { words, title, percent } = useWords();
  const w = words.batch;
  const name = (each: string): string => title(each, model.class_titles);
  const columns: TableColumnsType<Row> = [
    { title: w.patient, key: 'patient', render: (_, row) => row.patient.id },
    {
      title: w.given,
      key: 'given',
      render: (_, row) =>
        model.modalities
          .filter((modality) => modality in row.patient.pictures)
          .map((modality) => title(modality, model.modality_titles))
          .join(words.list),
    },
    {
      title: w.likeliest,
      key: 'likeliest',
      render: (_, { answer }) => {
        if (!answer) return '';
        const top = likeliest(answer.probabilities);
        return `${name(top)} ${percent(answer.probabilities[top] ?? 0)}`;
      },
    },
    {
      title: w.set,
      key: 'set',
      render: (_, { answer }) => (answer ? answer.set.map(name).join(words.list) || '–' : ''),
    },
    {
      title: w.state,
      key: 'state',
      render: (_, { state, answer, error }) => (
        <>
          <span className={`state state-${state}`}>{w.states[state]}</span>
          {answer?.unlike && <span className="caution small"> {w.outside}</span>}
          {error !== null && (
            <span className="bad small" lang="en">
              {' '}
              {describeError(error, words.unreachable)}
            </span>
          )}
        </>
      ),
    },
  ];
  return (
    <section className="card batch-table" aria-label={w.table}>
      <Table
        size="middle"
        rowKey={(row) => row.patient.id}
        columns={columns}
        dataSource={rows}
        scroll={{ x: 'max-content' }}
        pagination={rows.length > PAGE ? { pageSize: PAGE, showSizeChanger: false } : false}
      />
    </section>
  );
}
