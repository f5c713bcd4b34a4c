// Vectors of the page (see packed.py): 24 bits a number, most significant byte first, in base64.

const decoded = new Map();

function vector(place) {
  if (!decoded.has(place)) {
    const bytes = atob(data.curves.vectors[place]);
    const view = new DataView(new ArrayBuffer(4));
    const values = new Float64Array(bytes.length / 3);
    for (let i = 0; i < values.length; i++) {
      view.setUint8(0, bytes.charCodeAt(3 * i));
      view.setUint8(1, bytes.charCodeAt(3 * i + 1));
      view.setUint8(2, bytes.charCodeAt(3 * i + 2));
      values[i] = view.getFloat32(0);
    }
    decoded.set(place, values);
  }
  return decoded.get(place);
}

// An exponential moving average that starts where the curve does; `weight` is that of the past, 0 for none.
function smoothed(values, weight) {
  if (!weight) return values;
  const smooth = new Float64Array(values.length).fill(NaN);
  let sum = 0;
  let mass = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) continue;
    sum = weight * sum + values[i];
    mass = weight * mass + 1;
    smooth[i] = sum / mass;
  }
  return smooth;
}
