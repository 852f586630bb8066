import { GradCamError } from '../errors/errors.js';
import type { Model } from '../model/model.js';
import { ClipTokenizer } from './tokenizer.js';

/** @internal What a CLIP file holds, as its methods and the shapes of its weights tell. */
export interface ClipArchive {
  readonly imageEncoder: 'resnet' | 'vit';
  /** Side of the square images, in pixels. */
  readonly imageSize: number;
  /** Tokens of a text. */
  readonly contextLength: number;
  /** What cosines are multiplied by to become logits. */
  readonly logitScale: number;
  /** The layer that is explained when none is named. */
  readonly layer: string;
}

/** @internal The methods that make a model a CLIP. */
export const imageMethod = 'encode_image';
/** @internal */
export const textMethod = 'encode_text';

/**
 * Whether a model is a CLIP whose texts can be explained: it has both encoders, and they are CLIP's.
 * @internal
 */
export function isClip(model: Model): boolean {
  try {
    readClipArchive(model);
    return true;
  } catch (error) {
    if (error instanceof GradCamError && ['ERR_NO_FORWARD', 'ERR_UNSUPPORTED'].includes(error.code))
      return false;
    throw error;
  }
}

/**
 * @internal
 * @throws {GradCamError} `ERR_NO_FORWARD` where the methods of a CLIP are missing, `ERR_UNSUPPORTED` for an image encoder
 *   or a vocabulary that is not known
 */
export function readClipArchive(model: Model): ClipArchive {
  for (const method of [imageMethod, textMethod]) {
    if (model.methods.includes(method)) continue;
    throw new GradCamError(
      'ERR_NO_FORWARD',
      `This is no CLIP with text: it has no ${method} method. Its methods are: ${model.methods.join(', ')}. ` +
        'Export the whole model, with torch.jit.trace_module(model, { encode_image: ..., encode_text: ... }).',
      { details: { available: model.methods, path: model.path } },
    );
  }
  const shapes = new Map(model.weights.map(({ name, shape }) => [name, shape]));
  const rows = (...names: string[]) =>
    names.map((name) => shapes.get(name)?.[0]).find((length) => length !== undefined);
  const vocabularySize = rows('token_embedding.weight', 'text.token_embedding.weight');
  if (vocabularySize !== undefined && vocabularySize !== ClipTokenizer.vocabularySize) {
    throw new GradCamError(
      'ERR_UNSUPPORTED',
      `The model has a vocabulary of ${vocabularySize} tokens, not CLIP's ${ClipTokenizer.vocabularySize}: its tokenizer ` +
        'is not in this library. Encode the texts yourself and use VectorTarget with GradCAM.',
    );
  }
  return {
    ...imageEncoderOf(model, shapes),
    contextLength: rows('positional_embedding', 'text.positional_embedding') ?? 77,
    logitScale: Math.exp(scalar(model, 'logit_scale') ?? Math.log(100)),
  };
}

function imageEncoderOf(
  model: Model,
  shapes: ReadonlyMap<string, readonly number[]>,
): Pick<ClipArchive, 'imageEncoder' | 'imageSize' | 'layer'> {
  // Of the positional embedding the first row belongs to the mean, or to the class token.
  const side = (rows: number) => Math.round(Math.sqrt(rows - 1));
  const ofPool = shapes.get('visual.attnpool.positional_embedding')?.[0];
  if (ofPool !== undefined)
    return { imageEncoder: 'resnet', imageSize: side(ofPool) * 32, layer: 'visual.layer4' };
  const ofTokens = shapes.get('visual.positional_embedding')?.[0];
  const patch = shapes.get('visual.conv1.weight')?.[2];
  const blocks = model.layers().filter(({ path }) => /^visual\.transformer\.resblocks\.\d+$/.test(path));
  const last = blocks.at(-1);
  if (ofTokens !== undefined && patch !== undefined && last !== undefined) {
    // Behind the last attention only the class token counts: its input is the last place for all tokens.
    return { imageEncoder: 'vit', imageSize: side(ofTokens) * patch, layer: `${last.path}.ln_1` };
  }
  throw new GradCamError(
    'ERR_UNSUPPORTED',
    "The image encoder is neither CLIP's ResNet (visual.attnpool) nor its ViT (visual.transformer.resblocks). Use GradCAM " +
      "with modelMethod: 'encode_image' and a VectorTarget of the text's embedding.",
  );
}

function scalar(model: Model, name: string): number | undefined {
  using weight = model.weight(name);
  const value = weight?.toTypedArray()[0];
  return value === undefined ? undefined : Number(value);
}
