import type { SidecarInput } from './sidecar.js';

interface Preset {
  /** For --help. */
  readonly summary: string;
  /** The shorter side before the centre is cut out, per pixel of the input's. */
  readonly resize?: number;
  readonly input: Omit<SidecarInput, 'width' | 'height' | 'resize'>;
}

/** Preprocessings that many models share. */
export const presets = {
  imagenet: {
    summary: 'torchvision and most timm models (the default)',
    resize: 256 / 224,
    input: { interpolation: 'bilinear', mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  },
  inception: {
    summary: "values -1 to 1: Inception, timm's ViTs from Google",
    resize: 1 / 0.9,
    input: { interpolation: 'bicubic', mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
  },
  'hf-vit': {
    summary: "the same of the whole picture, squashed: Hugging Face's ViT",
    input: { fit: 'stretch', interpolation: 'bilinear', mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
  },
  clip: {
    summary: 'OpenAI CLIP and OpenCLIP',
    resize: 1,
    input: {
      interpolation: 'bicubic',
      mean: [0.48145466, 0.4578275, 0.40821073],
      std: [0.26862954, 0.26130258, 0.27577711],
    },
  },
  caffe: {
    summary: 'blue, green, red; 0 to 255 less the mean: from Caffe',
    resize: 256 / 224,
    input: {
      interpolation: 'bilinear',
      channelOrder: 'bgr',
      valueRange: [0, 255],
      mean: [103.939, 116.779, 123.68],
      std: [1, 1, 1],
    },
  },
  yolo: {
    summary: 'values 0 to 1, gray bars around the whole picture',
    input: {
      fit: 'contain',
      paddingColor: [114, 114, 114],
      interpolation: 'bilinear',
      antialias: false,
      mean: [0, 0, 0],
      std: [1, 1, 1],
    },
  },
  unit: {
    summary: 'values 0 to 1, nothing subtracted',
    resize: 256 / 224,
    input: { interpolation: 'bilinear', mean: [0, 0, 0], std: [1, 1, 1] },
  },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof presets;
export const presetNames = Object.keys(presets) as PresetName[];

/** The sidecar's `input` for a size, by a preset. For one channel, mean and deviation are the average of its three. */
export function presetInput(name: PresetName, width: number, height: number, channels: 1 | 3): SidecarInput {
  const { resize, input }: Preset = presets[name];
  const { channelOrder, ...rest } = input;
  const average = (values: readonly number[] = []) => [
    Number((values.reduce((sum, value) => sum + value, 0) / values.length).toFixed(4)),
  ];
  return {
    width,
    height,
    ...(channels === 1 ? { channels } : {}),
    ...(channelOrder && channels === 3 ? { channelOrder } : {}),
    ...(resize === undefined ? {} : { resize: Math.floor(Math.min(width, height) * resize + 1e-6) }),
    ...rest,
    ...(channels === 1
      ? { mean: average(input.mean), std: average(input.std) }
      : { mean: input.mean as readonly number[], std: input.std as readonly number[] }),
  };
}
