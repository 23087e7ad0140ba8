import { expect, it } from 'vitest';
import { enlarge, paint, scaleOf, smooth } from './heat';

it('keeps the sum of a map that it blurs, and what is even', () => {
  const map = new Float64Array(36 * 36);
  map[5] = 1; // at the edge, where a blur mirrors
  expect(smooth(map, 36).reduce((sum, each) => sum + each, 0)).toBeCloseTo(1, 9);
  expect(Math.max(...smooth(new Float64Array(36 * 36).fill(0.5), 36))).toBeCloseTo(0.5, 12);
  expect(Math.max(...smooth(new Float64Array(36 * 36).fill(-1), 36))).toBe(0);
});

it('enlarges between the centres of cells', () => {
  // torch: F.interpolate(torch.tensor([[[[0., 1.], [2., 3.]]]]), size=4, mode="bilinear")
  const expected = [0, 0.25, 0.75, 1, 0.5, 0.75, 1.25, 1.5, 1.5, 1.75, 2.25, 2.5, 2, 2.25, 2.75, 3];
  expect([...enlarge(Float64Array.from([0, 1, 2, 3]), 2, 2, 4)]).toEqual(expected);
});

it('paints the brightest two hundredth in the last colour', () => {
  const map = Float64Array.from({ length: 1000 }, (_, n) => n / 999);
  const scale = scaleOf([map]);
  expect(scale).toBeCloseTo(0.995, 9); // numpy.quantile
  const rgba = paint(map, scale, ['#000000', '#0102ff']);
  expect([...rgba.subarray(0, 4)]).toEqual([0, 0, 0, 0]);
  expect([...rgba.subarray(-4)]).toEqual([1, 2, 255, 255]);
  expect(paint(new Float64Array(4), 0, ['#ffffff']).filter((_, n) => n % 4 === 3)).toEqual(new Uint8ClampedArray(4));
});
