/** How both sides compute. `load` is what our loadModel() is given besides the device, `tf32` and the rest what Python is. */
const byName = {
  float32: { dtype: 'float32', tf32: false, load: {}, tolerance: 1e-3 },
  tf32: { dtype: 'float32', tf32: true, load: { tf32: true }, tolerance: 2e-2 },
  float16: { dtype: 'float16', tf32: false, load: { dtype: 'float16' }, tolerance: 5e-2 },
};

export const settingNames = Object.keys(byName);

/** `benchmark`: cuDNN tries its algorithms and takes the fastest. */
export function settingOf(name, benchmark = false) {
  const { load, ...rest } = byName[name];
  if (!benchmark) return { name, benchmark, load, ...rest };
  return { name: `${name}, cuDNN benchmark`, benchmark, load: { ...load, cudnnBenchmark: true }, ...rest };
}
