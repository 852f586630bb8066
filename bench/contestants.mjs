/** Whom a process of PyTorch answers for, on the CPU and on a GPU. */
export const python = ['eager', 'torchscript', 'gradcam', 'torchcam', 'captum'];
export const node = ['ours', 'plain', 'forward'];
export const contestants = [...python, ...node];
export const peers = ['torchcam', 'captum'];

/** LibTorch's own forms of a forward; all but the first are measured on the CPU alone. */
export const libtorchForms = ['torchscript', 'frozen', 'optimized'];
/** Other runtimes for the same model, each in a process of its own; either may be missing. */
export const predictions = ['onnxruntime', 'openvino'];
export const cpuContestants = [
  ...contestants,
  ...libtorchForms.filter((name) => !python.includes(name)),
  ...predictions,
];

/** What tables call those whose name alone does not tell. */
export const titles = {
  gradcam: 'grad-cam',
  plain: 'not optimized',
  forward: 'our forward',
  torchscript: 'TorchScript',
  frozen: 'TorchScript frozen, channels-last',
  optimized: 'TorchScript optimize_for_inference',
  onnxruntime: 'ONNX Runtime',
  openvino: 'OpenVINO',
  torchcam: 'torch-cam',
  captum: 'Captum',
};

export const ratioPairs = {
  oursToEager: ['ours', 'eager'],
  oursToTorchScript: ['ours', 'torchscript'],
  plainToEager: ['plain', 'eager'],
  gradcamToEager: ['gradcam', 'eager'],
  gradcamToOurs: ['gradcam', 'ours'],
  torchcamToOurs: ['torchcam', 'ours'],
  captumToOurs: ['captum', 'ours'],
};

/** One contestant against the fastest of several. */
export const ratiosToFastest = {
  oursToPrediction: ['ours', predictions],
  eagerToPrediction: ['eager', predictions],
  gradcamToPrediction: ['gradcam', predictions],
  forwardToPrediction: ['forward', predictions],
  forwardToLibTorch: ['forward', libtorchForms],
};
